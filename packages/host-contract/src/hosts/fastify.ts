import type { AgentSource, Relay, RelayOptions } from '@arc/thread-core';
import Fastify, {
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import { type App, answers, type Host } from '../host.js';

/** What the contract needs of the adapter. */
type Arc = FastifyPluginAsync<RelayOptions & AgentSource & { path?: string }>;
type Known = FastifyRequest & { user?: string };

export const fastifyHost = (adapter: Arc): Host => ({
  name: 'fastify',
  unsupported: {
    attach: 'Fastify has its server before any plugin: there is nothing to attach',
  },
  userOf: (context) => (context as Known).user,
  async listen(site): Promise<App> {
    const { server: makeServer } = site;
    const options: FastifyServerOptions = makeServer === undefined ? {} : { serverFactory: (run) => makeServer(run) };
    const app = Fastify({ ...options, trustProxy: site.isBehindProxy ?? false });
    app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
      site.onError(error);
      return reply.code(error.statusCode ?? 500).send(answers.failed(error));
    });
    app.addHook('onRequest', async (request, reply) => {
      const verdict = site.before?.(request.raw) ?? { user: '' };
      if (verdict instanceof Error) throw verdict;
      if (typeof verdict === 'number') return reply.code(verdict).send(answers.refused);
      if ('page' in verdict) return reply.send(verdict.page);
      Object.assign(request, verdict);
    });
    site.beforeAttach?.(app.server);
    const relays: Relay[] = [];
    const plugin = async (scope: FastifyInstance): Promise<void> => {
      for (const { path, options } of site.relays) {
        // Each in a scope of its own, so that each has a decorator of its own.
        await scope.register(async (inner) => {
          await inner.register(adapter, { ...(path === undefined ? {} : { path }), ...options });
          relays.push((inner as FastifyInstance & { arc: Relay }).arc);
        });
      }
    };
    await app.register(plugin, site.below === undefined ? {} : { prefix: site.below });
    await app.ready();
    site.afterAttach?.(app.server);
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { server: app.server, relays, close: () => app.close() };
  },
});
