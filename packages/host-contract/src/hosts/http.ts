import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import { type App, closeServer, type Host, listening } from '../host.js';

/** A server of node:http without a framework. */
export const httpHost = (): Host => ({
  name: 'node:http',
  unsupported: {
    middleware: 'there is no framework, and so no middleware',
    context: 'there is no framework: `authenticate` gets only the request',
    'plain GET': 'the server answers plain requests itself',
    attach: 'there is no adapter: the app puts the relay on its server itself',
  },
  userOf: () => undefined,
  async listen(site): Promise<App> {
    const server = (site.server ?? createServer)((_request, response) => response.writeHead(404).end());
    site.beforeAttach?.(server);
    const relays = site.relays.map(({ path = '/ws', options }) => {
      const relay = createRelay({ trustProxy: site.isBehindProxy, ...options });
      serveRelay(server, relay, { path: (site.below ?? '') + path });
      return relay;
    });
    server.listen(0, '127.0.0.1');
    site.afterAttach?.(server);
    await listening(server);
    return { server, relays, close: () => closeServer(server) };
  },
});
