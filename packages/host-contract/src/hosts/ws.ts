import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { verifyClient } from '@arc/thread-core/host';
import { WebSocketServer } from 'ws';
import { type App, closed, type Host, listening } from '../host.js';

/** A bare server without a framework. `asks`: it asks the relay before it upgrades. */
export const onWs = ({ asks }: { asks: boolean }): Host => ({
  name: asks ? 'ws with verifyClient' : 'ws',
  cannot: {
    ...(asks
      ? {}
      : {
          refusals:
            'ws accepts unless it is given verifyClient; refused connections are closed with 4401, 4403 or 1013',
        }),
    middleware: 'there is no framework, and so no middleware',
    context: 'there is no framework, and so nothing but the request',
    'not found': 'ws answers 400 on paths that are not its own',
    'trailing slash': 'ws compares its path to the letter',
    'plain GET': "plain requests are the server's own affair",
    'several relays': 'ws servers on one server answer 400 to the upgrades of each other',
    below: 'there are no routers',
    coexistence: 'a ws server answers 400 to every upgrade that is not its own',
    pipelining: 'ws answers an upgrade at once, whatever is still to be answered before it',
    attach: 'there is no adapter: the app attaches every socket itself',
  },
  userOf: () => undefined,
  async listen(site): Promise<App> {
    const server = site.server?.(() => {}) ?? createServer();
    const [at] = site.relays;
    const relays = site.relays.map(({ options }) => createRelay({ trustProxy: site.isBehindProxy, ...options }));
    const [relay] = relays;
    if (at === undefined || relay === undefined) throw new Error('A relay is missing');
    const { path = '/ws' } = at;
    const sockets = new WebSocketServer({
      server,
      path,
      ...relay.wsOptions,
      ...(asks ? { verifyClient: verifyClient(relay) } : {}),
    });
    sockets.on('connection', (socket, request) => relay.attach(socket, request));
    // A ws server passes on the errors of its server.
    sockets.on('error', site.onError);
    server.listen(0, '127.0.0.1');
    site.last?.(server);
    await listening(server);
    const close = async (): Promise<void> => {
      const done = closed(server);
      await Promise.all(relays.map((one) => one.close()));
      await done;
    };
    return { server, relays, close };
  },
});
