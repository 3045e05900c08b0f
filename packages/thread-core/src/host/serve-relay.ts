import type { Server } from 'node:http';
import type { Relay } from '../relay/relay.js';
import { isPathOf, readPath } from './paths.js';
import { serveUpgrades } from './upgrade.js';

/**
 * Puts a relay on a `node:http` or `node:https` server without a framework, at `path` (default `/ws`): completes or
 * refuses its upgrades, keeps them from other WebSocket libraries on the server, and closes the relay with the server.
 * Upgrades to other paths are requests of the server's own listener, unless another library takes them.
 * @throws TypeError if `server` is no server, for example because a framework has not made it yet, or if `path` does not start with /
 */
export function serveRelay(server: Server, relay: Relay, options: { path?: string } = {}): void {
  const paths = [readPath(options.path)];
  serveUpgrades(
    server,
    relay,
    ({ url }) => isPathOf(url, paths),
    (request, socket, head) => {
      if (!isPathOf(request.url, paths)) return false;
      void relay.handleUpgrade(request, socket, head);
      return true;
    },
  );
}
