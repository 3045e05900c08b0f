import { EventEmitter } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import {
  answerInstead,
  createRelay,
  isBelow,
  type Relay,
  type RelayOptions,
  readPath,
  serveUpgrades,
} from '@arc/thread-core';
import websocket from '@fastify/websocket';
import type { FastifyInstance, FastifyPluginAsync, FastifyPluginOptions, preHandlerAsyncHookHandler } from 'fastify';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    /** The relay of the first `fastify-arc` of this scope. */
    arc: Relay;
  }
}

/** All of the relay's options, and where it is. `logger` is `app.log` without it. */
export interface FastifyArcOptions extends RelayOptions, Partial<Pick<FastifyPluginOptions, 'prefix' | 'logLevel'>> {
  /** The route that clients connect to, below the prefix. Default `/ws`. */
  path?: string;
}

const register: FastifyPluginAsync<FastifyArcOptions> = async (app, options) => {
  const { path: at, prefix = '', logLevel: _, ...relayOptions } = options;
  const path = readPath(at);
  const relay = createRelay({ ...relayOptions, logger: relayOptions.logger ?? app.log });
  if (!app.hasDecorator('arc')) app.decorate('arc', relay);
  await useWebsocket(app, relay);

  // The last hook before the upgrade: the app's own have run, and may have answered already.
  const preHandler: preHandlerAsyncHookHandler = async (request, reply) => {
    const answer = await answerInstead(relay, request.raw, request);
    if (answer !== undefined) return reply.code(answer.status).headers(answer.headers).send(answer.body);
  };
  app.get(prefix + path, { websocket: true, preHandler }, (socket, request) => {
    // The session looks after errors from here on, and after the socket when the app closes.
    socket.off('error', socket.listeners('error').at(-1) as () => void);
    app.websocketServer.clients?.delete(socket);
    relay.attach(socket, request.raw);
  });

  app.addHook('preClose', async () => {
    await relay.close();
  });
};

/** The options of WebSocket servers that were made here, and not by the app. */
const ours = new WeakSet<object>();

/** Registers @fastify/websocket where this scope has none. */
async function useWebsocket(app: FastifyInstance, relay: Relay): Promise<void> {
  if (app.hasPlugin('@fastify/websocket')) {
    // The largest limit of all relays is the server's; each session has its own.
    const { options } = app.websocketServer;
    if (ours.has(options)) options.maxPayload = Math.max(options.maxPayload ?? 0, relay.wsOptions.maxPayload);
    return;
  }
  // On the server itself it would take every upgrade: those of other libraries, and of other scopes a second time.
  const upgrades = new EventEmitter() as Server;
  await app.register(websocket, { options: { ...relay.wsOptions, server: upgrades } });
  ours.add(app.websocketServer.options);
  const paths: string[] = [];
  app.addHook('onRoute', ({ url, websocket, wsHandler }) => {
    if (websocket || wsHandler) paths.push(url);
  });
  app.addHook('onReady', async () => {
    const isOwn = (request: IncomingMessage): boolean => isBelow(request, paths);
    serveUpgrades(app.server, relay, isOwn, (...upgrade) => upgrades.emit('upgrade', ...upgrade));
  });
}

const fastifyArc = fp(register, { fastify: '5.x', name: 'fastify-arc' });

export default fastifyArc;
export { fastifyArc, fastifyArc as 'module.exports' };
