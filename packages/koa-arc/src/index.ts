import {
  type Attachable,
  answerInstead,
  createRelay,
  isBelow,
  onListen,
  type Relay,
  type RelayOptions,
  readPath,
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
export interface KoaArc extends Koa.Middleware, Attachable {}

/** Its declaration has a default export, which the CommonJS module has not. */
const easyWebsocket = koaEasyWs as unknown as typeof koaEasyWs.default;

type Context = Koa.Context & { ws?: () => Promise<WebSocket> };

/** `app.use(arc({ app, path: '/ws', endpoint, token }))`. */
function arc(options: KoaArcOptions): KoaArc {
  const { app, path: at, ...relayOptions } = options;
  const path = readPath(at);
  const relay = createRelay(relayOptions);
  const easy = easyWebsocket('ws', { wsOptions: relay.wsOptions });

  const handle = async (ctx: Context, next: Koa.Next): Promise<unknown> => {
    ctx.arc = relay;
    if (ctx.path !== path) return next();
    const answer = await answerInstead(relay, ctx.req, ctx);
    if (answer !== undefined) {
      ctx.status = answer.status;
      ctx.set(answer.headers);
      ctx.body = answer.body;
      return;
    }
    const stream = takeUpgrade(ctx.req, 'koa-arc');
    // The app may have koa-easy-ws already; its promise never settles where the handshake fails.
    if (ctx.ws === undefined) await easy(ctx, async () => {});
    const gone = new Promise<void>((resolve) => (stream.closed ? resolve() : stream.once('close', () => resolve())));
    const socket = await Promise.race([ctx.ws?.(), gone]);
    if (socket !== undefined) relay.attach(socket, ctx.req);
  };

  const attach: KoaArc['attach'] = (server, { path: whole = path } = {}) => {
    serveUpgrades(server, relay, (request) => isBelow(request, [whole]));
  };
  if (app !== undefined) onListen(app, attach);
  return Object.assign(handle, { relay, attach }) as KoaArc;
}

export default arc;
export { arc as 'module.exports' };
