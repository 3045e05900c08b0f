import { EventEmitter } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import { type AgentSource, createRelay, type Relay, type RelayOptions } from '@arc/thread-core';
import { acceptUpgrade, admitUpgrade, isPathOf, readPath, serveUpgrades } from '@arc/thread-core/host';
import websocket from '@fastify/websocket';
import type { FastifyInstance, FastifyPluginAsync, FastifyPluginOptions, FastifyRequest, RouteOptions } from 'fastify';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    /** The relay of the first `fastify-arc` of this scope. */
    arc: Relay;
  }
}

/**
 * All of the relay's options, and where it is. `logLevel` is that of its route's access log. `authenticate` gets Fastify's
 * request as its second argument. `logger` is `app.log` without it. `register` cannot infer the identity: `arc.options` does.
 */
export interface FastifyArcOptions<Identity = unknown>
  extends RelayOptions<Identity, FastifyRequest>,
    Partial<Pick<FastifyPluginOptions, 'prefix' | 'logLevel'>> {
  /** The route that clients connect to, below the prefix. Default `/ws`. */
  path?: string;
  /** The name of the relay in its scope. Default `arc`, for the first relay of the scope. */
  decorator?: string;
}

const register: FastifyPluginAsync<FastifyArcOptions & AgentSource> = async (app, options) => {
  const { path: given, prefix = '', logLevel, decorator, ...relayOptions } = options;
  const path = readPath(given);
  const relay = createRelay({ ...relayOptions, logger: relayOptions.logger ?? app.log });
  // A scope inherits the decorators of those above it: only its own is in the way.
  if (decorator !== undefined || !Object.hasOwn(app, 'arc')) app.decorate(decorator ?? 'arc', relay);
  await useWebsocket(app, relay);

  const route: Omit<RouteOptions, 'url'> = {
    method: 'GET',
    ...(logLevel !== undefined && { logLevel }),
    // The last hook before the upgrade: the app's own have run, and may have answered already.
    preHandler: async (request, reply) => {
      const answer = await admitUpgrade(relay, request.raw, { context: request, host: request.host });
      if (answer !== undefined) return reply.code(answer.status).headers(answer.headers).send(answer.body);
    },
    handler: (request, reply) => {
      reply.hijack();
      acceptUpgrade(relay, request.raw, 'fastify-arc');
    },
    // By way of @fastify/websocket comes what its injectWS injects. The session handles errors from here on, and closes
    // the socket when the app closes.
    wsHandler: (socket, request) => {
      socket.off('error', socket.listeners('error').at(-1) as () => void);
      app.websocketServer.clients?.delete(socket);
      relay.attach(socket, request.raw);
    },
  };
  const url = prefix.replace(/\/$/, '') + path;
  app.route({ ...route, url });
  addRouteUnlessThere(app, { ...route, url: `${url}/` });
  serveUpgrades(app.server, relay, isOneOf(app, [app.prefix + url]));

  app.addHook('preClose', async () => {
    await relay.close();
  });
};

/** `hasRoute` does not know of an app's `ignoreTrailingSlash`. */
function addRouteUnlessThere(app: FastifyInstance, route: RouteOptions): void {
  try {
    app.route(route);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'FST_ERR_DUPLICATED_ROUTE') throw error;
  }
}

/** Registers @fastify/websocket if this scope has none. */
async function useWebsocket(app: FastifyInstance, relay: Relay): Promise<void> {
  if (app.hasPlugin('@fastify/websocket')) return;
  // On the server itself it would take every upgrade: those of other libraries, and of other scopes a second time.
  const upgrades = new EventEmitter() as Server;
  await app.register(websocket, { options: { ...relay.wsOptions, server: upgrades } });
  const paths: string[] = [];
  app.addHook('onRoute', ({ url, websocket, wsHandler }) => {
    if (websocket || wsHandler) paths.push(url);
  });
  app.addHook('onReady', async () => {
    serveUpgrades(app.server, relay, isOneOf(app, paths), (...upgrade) => upgrades.emit('upgrade', ...upgrade));
  });
}

/** Whether a request is for one of these routes, once Fastify has rewritten its URL. */
function isOneOf(app: FastifyInstance, paths: readonly string[]): (request: IncomingMessage) => boolean {
  const rewriteUrl = rewriterOf(app);
  return (request) => isPathOf(rewriteUrl === undefined ? request.url : rewriteUrl.call(app, request), paths);
}

/** The option `rewriteUrl` of an app. Fastify applies it when it routes, and has no public way to read its options. */
function rewriterOf(app: FastifyInstance): ((request: IncomingMessage) => string) | undefined {
  for (let scope: object | null = app; scope !== null; scope = Object.getPrototypeOf(scope)) {
    const symbol = Object.getOwnPropertySymbols(scope).find(({ description }) => description === 'fastify.options');
    if (symbol !== undefined) return (Reflect.get(scope, symbol) as { rewriteUrl?: () => string }).rewriteUrl;
  }
  return undefined;
}

/**
 * The options as they are, with the identity that `authenticate` resolves to in every other callback:
 * `app.register(arc, arc.options({ … }))`. Fastify's `register` cannot infer it.
 */
function options<Identity>(given: FastifyArcOptions<Identity> & AgentSource): FastifyArcOptions & AgentSource {
  return given as FastifyArcOptions & AgentSource;
}

/** Fastify's plugin for the relay: `app.register(arc, { endpoint, token })`. */
const fastifyArc = Object.assign(fp(register, { fastify: '5.x', name: 'fastify-arc' }), { options });

export default fastifyArc;
export { fastifyArc, fastifyArc as 'module.exports' };
