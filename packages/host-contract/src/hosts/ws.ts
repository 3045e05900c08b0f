import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { verifyClient } from '@arc/thread-core/host';
import { WebSocketServer } from 'ws';
import { type App, closeServer, type Host, listening } from '../host.js';

/** A bare server without a framework. `verifies`: it asks the relay before it upgrades. */
export const wsHost = ({ verifies }: { verifies: boolean }): Host => ({
  name: verifies ? 'ws with verifyClient' : 'ws',
  unsupported: {
    ...(verifies
      ? {}
      : {
          refusals:
            'ws accepts unless it is given verifyClient; refused connections are closed with 4401, 4403 or 1013',
        }),
    middleware: 'there is no framework, and so no middleware',
    context: 'there is no framework: `authenticate` gets only the request',
    'not found': 'ws answers 400 on paths that are not its own',
    'trailing slash': 'ws compares the path exactly',
    'plain GET': 'the server answers plain requests itself',
    'several relays': 'ws servers on one server answer 400 to the upgrades of each other',
    below: 'there are no routers',
    coexistence: 'a ws server answers 400 to every upgrade that is not its own',
    'other protocols': 'ws answers 400 or 405 to a request that offers another protocol',
    pipelining: 'ws answers an upgrade at once, even if an earlier request has no answer yet',
    attach: 'there is no adapter: the app attaches every socket itself',
  },
  userOf: () => undefined,
  async listen(site): Promise<App> {
    const server = site.server?.(() => {}) ?? createServer();
    const [first] = site.relays;
    const relays = site.relays.map(({ options }) => createRelay({ trustProxy: site.isBehindProxy, ...options }));
    const [relay] = relays;
    if (first === undefined || relay === undefined) throw new Error('A relay is missing');
    const { path = '/ws' } = first;
    const webSockets = new WebSocketServer({
      server,
      path,
      ...relay.wsOptions,
      ...(verifies ? { verifyClient: verifyClient(relay) } : {}),
    });
    webSockets.on('connection', (socket, request) => relay.attach(socket, request));
    // ws emits the errors of the HTTP server again.
    webSockets.on('error', site.onError);
    server.listen(0, '127.0.0.1');
    site.afterAttach?.(server);
    await listening(server);
    const close = async (): Promise<void> => {
      const done = closeServer(server);
      await Promise.all(relays.map((one) => one.close()));
      await done;
    };
    return { server, relays, close };
  },
});
