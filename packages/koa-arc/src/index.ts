import { type AgentSource, createRelay, type Relay, type RelayOptions } from '@arc/thread-core';
import {
  type Attachable,
  acceptUpgrade,
  admitUpgrade,
  isPathOf,
  onListen,
  readPath,
  serveUpgrades,
} from '@arc/thread-core/host';
import type Koa from 'koa';

declare module 'koa' {
  interface DefaultContext {
    /** The relay of the last `koa-arc` that the request has passed. */
    arc: Relay;
  }
}

/** All of the relay's options, and where it is. `authenticate` gets `ctx` as its second argument. */
export interface KoaArcOptions<Identity = unknown> extends RelayOptions<Identity, Koa.Context> {
  /** The app: its `listen` gives the server. Without it, call `attach(server)`. */
  app?: Koa;
  /** The path that clients connect to. Default `/ws`. */
  path?: string;
}

/** Koa middleware, and the relay behind it. */
export interface KoaArc<Identity = unknown> extends Koa.Middleware, Attachable<Identity, Koa.Context> {}

/** `app.use(arc({ app, path: '/ws', endpoint, token }))`. */
function arc<Identity = unknown>(options: KoaArcOptions<Identity> & AgentSource): KoaArc<Identity> {
  const { app, path: given, ...relayOptions } = options;
  const path = readPath(given);
  const relay = createRelay(relayOptions);

  const handle = async (ctx: Koa.Context, next: Koa.Next): Promise<void> => {
    ctx.arc = relay;
    if (ctx.path !== path && ctx.path !== `${path}/`) return next();
    const answer = await admitUpgrade(relay, ctx.req, { context: ctx, host: ctx.host, adapter: 'koa-arc' });
    if (answer !== undefined) {
      ctx.status = answer.status;
      ctx.set(answer.headers);
      ctx.body = answer.body;
      return;
    }
    // The response is no longer Koa's: it would answer 404.
    ctx.respond = false;
    acceptUpgrade(relay, ctx.req, 'koa-arc');
  };

  const attach: KoaArc['attach'] = (server, { path: attached = path } = {}) => {
    const paths = [readPath(attached)];
    serveUpgrades(server, relay, ({ url }) => isPathOf(url, paths));
  };
  if (app !== undefined) onListen(app, attach);
  return Object.assign(handle, { relay, attach }) as KoaArc<Identity>;
}

export default arc;
export { arc as 'module.exports' };
