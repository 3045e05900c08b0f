import type { Server } from 'node:http';
import {
  createRelay,
  isBelow,
  isUpgrade,
  NotAttachedError,
  type Relay,
  type RelayOptions,
  serveUpgrades,
  takeUpgrade,
} from '@arc/thread-core';
import type Koa from 'koa';
import koaEasyWs from 'koa-easy-ws';
import type { WebSocket } from 'ws';

declare module 'koa' {
  interface DefaultContext {
    /** The relay of the last `koa-arc` that the request has passed. */
    arc?: Relay;
  }
}

/** All of the relay's options, and where it is. */
export interface KoaArcOptions extends RelayOptions {
  /** The app: its `listen` gives the server. Without it, call `attach(server)`. */
  app?: Koa;
  /** The path that clients connect to. Default `/ws`. */
  path?: string;
}

/** Koa middleware, and the relay behind it. */
export interface KoaArc extends Koa.Middleware {
  readonly relay: Relay;
  /**
   * For apps whose own `listen` is not used: has the server's upgrades run through the app. `path` is the whole path,
   * where the app is mounted below another one beside another library's WebSockets.
   */
  attach(server: Server, options?: { path?: string }): void;
}

/** Its declaration has a default export, which the CommonJS module has not. */
const easyWebsocket = koaEasyWs as unknown as typeof koaEasyWs.default;

type Context = Koa.Context & { ws?: () => Promise<WebSocket> };

/** `app.use(arc({ app, path: '/ws', endpoint, token }))`. */
function arc(options: KoaArcOptions): KoaArc {
  const { app, path = '/ws', ...relayOptions } = options;
  if (!`${path}`.startsWith('/')) throw new TypeError('path: must start with /');
  const relay = createRelay(relayOptions);
  const easy = easyWebsocket('ws', { wsOptions: relay.wsOptions });

  const handle = async (ctx: Context, next: Koa.Next): Promise<unknown> => {
    ctx.arc = relay;
    if (ctx.path !== path) return next();
    if (!isUpgrade(ctx.req)) {
      ctx.set('upgrade', 'websocket');
      ctx.status = 426;
      ctx.body = { error: 'Expected a WebSocket' };
      return;
    }
    const admission = await relay.admit(ctx.req, ctx);
    if ('refused' in admission) {
      ctx.status = admission.refused.status;
      ctx.body = { error: admission.refused.message };
      return;
    }
    const stream = takeUpgrade(ctx.req);
    if (stream === undefined) throw new NotAttachedError('koa-arc');
    // The app may have koa-easy-ws already; its promise never settles where the handshake fails.
    if (ctx.ws === undefined) await easy(ctx, async () => {});
    const gone = new Promise<void>((resolve) => (stream.closed ? resolve() : stream.once('close', () => resolve())));
    const socket = await Promise.race([ctx.ws?.(), gone]);
    if (socket !== undefined) relay.attach(socket, ctx.req);
  };

  const attach: KoaArc['attach'] = (server, { path: whole = path } = {}) => {
    serveUpgrades(server, relay, (request) => isBelow(request, [whole]));
  };
  if (app !== undefined) {
    const { listen } = app;
    app.listen = ((...args: Parameters<typeof listen>) => {
      const server = listen.apply(app, args);
      attach(server);
      return server;
    }) as typeof listen;
  }
  return Object.assign(handle, { relay, attach }) as KoaArc;
}

export default arc;
export { arc as 'module.exports' };
