import { EventEmitter } from 'node:events';
import type { Server } from 'node:http';
import { createRelay, type Relay, type RelayOptions } from '@arc/thread-core';
import websocket from '@fastify/websocket';
import type { FastifyInstance, FastifyPluginAsync, FastifyPluginOptions } from 'fastify';
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
  const { path = '/ws', prefix = '', logLevel: _, ...relayOptions } = options;
  if (!path.startsWith('/')) throw new TypeError('path: must start with /');
  const relay = createRelay({ logger: app.log, ...relayOptions });
  if (!app.hasDecorator('arc')) app.decorate('arc', relay);
  await useWebsocket(app, relay);

  app.route({
    method: 'GET',
    url: prefix + path,
    // The last hook before the upgrade: the app's own have run, and may have answered already.
    preHandler: async (request, reply) => {
      if (!request.ws) return;
      const admission = await relay.admit(request.raw, request);
      if ('refused' in admission)
        return reply.code(admission.refused.status).send({ error: admission.refused.message });
    },
    handler: (_request, reply) =>
      reply.code(426).header('upgrade', 'websocket').send({ error: 'Expected a WebSocket' }),
    wsHandler: (socket, request) => {
      // The session looks after errors from here on, and after the socket when the app closes.
      socket.removeAllListeners('error');
      app.websocketServer.clients.delete(socket);
      relay.attach(socket, request.raw);
    },
  });

  app.addHook('preClose', async () => {
    await relay.close();
  });
};

/** Servers whose upgrades @fastify/websocket handles already, in whatever scope it was registered. */
const upgraded = new WeakSet<object>();

/** Registers @fastify/websocket where this scope has none. */
async function useWebsocket(app: FastifyInstance, relay: Relay): Promise<void> {
  if (!app.hasPlugin('@fastify/websocket')) {
    // Beside another scope that has it, it must not handle the server's upgrades a second time.
    const server = upgraded.has(app.server) ? { server: new EventEmitter() as Server } : {};
    await app.register(websocket, { options: { ...relay.wsOptions, ...server } });
  }
  upgraded.add(app.server);
}

const fastifyArc = fp(register, { fastify: '5.x', name: 'fastify-arc' });

export default fastifyArc;
export { fastifyArc, fastifyArc as 'module.exports' };
