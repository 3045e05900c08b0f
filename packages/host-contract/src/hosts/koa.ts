/// <reference path="aliases.d.ts" />
import type { Server } from 'node:http';
import type { AgentSource, RelayOptions } from '@arc/thread-core';
import type { Attachable } from '@arc/thread-core/host';
import Koa from 'koa';
import koaEasyWs from 'koa-easy-ws';
import Koa2 from 'koa2';
import { type App, answers, closeServer, type Host, listening } from '../host.js';

/** What the contract needs of the adapter. */
type Arc = (options: RelayOptions & AgentSource & { app?: Koa; path?: string }) => Koa.Middleware & Attachable;
const easyWebsocket = koaEasyWs as unknown as typeof koaEasyWs.default;

export const koa3Host = (adapter: Arc): Host => koaHost('koa 3', adapter, Koa);
/** An app that has koa-easy-ws already. */
export const koa2Host = (adapter: Arc): Host => koaHost('koa 2', adapter, Koa2, [easyWebsocket()]);

function koaHost(name: string, adapter: Arc, Framework: typeof Koa, own: Koa.Middleware[] = []): Host {
  return {
    name,
    unsupported: {},
    userOf: (context) => (context as Koa.Context).state.user,
    async listen(site): Promise<App> {
      const app = new Framework();
      app.proxy = site.isBehindProxy ?? false;
      app.on('error', site.onError);
      app.use(async (ctx, next) => {
        try {
          const verdict = site.before?.(ctx.req) ?? { user: '' };
          if (verdict instanceof Error) throw verdict;
          if (typeof verdict === 'number') {
            ctx.status = verdict;
            ctx.body = answers.refused;
          } else if ('page' in verdict) {
            ctx.body = verdict.page;
          } else {
            Object.assign(ctx.state, verdict);
            await next();
          }
        } catch (error) {
          site.onError(error);
          ctx.status = (error as { statusCode?: number }).statusCode ?? 500;
          ctx.body = answers.failed(error);
        }
      });
      for (const middleware of own) app.use(middleware);
      const { below = '', server: makeServer } = site;
      const given = makeServer === undefined ? { app } : {};
      // Koa has no routers of its own: what mounts an app below another one shortens `ctx.path` meanwhile.
      const mount = (middleware: Koa.Middleware): Koa.Middleware => {
        if (below === '') return middleware;
        return async (ctx, next) => {
          const { path } = ctx;
          if (!path.startsWith(`${below}/`)) return next();
          ctx.path = path.slice(below.length);
          await middleware(ctx, async () => {
            ctx.path = path;
            await next();
            ctx.path = path.slice(below.length);
          });
          ctx.path = path;
        };
      };
      const relays = site.relays.map(({ options, ...at }) => adapter({ ...given, ...at, ...options }));
      for (const relay of relays) app.use(mount(relay));
      const server: Server = makeServer?.(app.callback()) ?? app.listen(0, '127.0.0.1');
      if (makeServer !== undefined) {
        site.beforeAttach?.(server);
        const attached = site.isForgetful ? [] : relays;
        attached.forEach((relay, index) => {
          relay.attach(server, { path: below + (site.relays[index]?.path ?? '/ws') });
        });
        server.listen(0, '127.0.0.1');
      }
      site.afterAttach?.(server);
      await listening(server);
      return { server, relays: relays.map(({ relay }) => relay), close: () => closeServer(server) };
    },
  };
}
