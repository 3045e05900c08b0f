import type { Server } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import type { Test } from 'tap';
import { RawClient } from './client.js';
import type { Host } from './host.js';
import { world } from './world.js';

const TIMEOUT = 1000;
/** For how long connections talk. */
const TIME = 3500;

/** Shortens Node's time-outs for requests, and has them checked often. To be called before the server listens. */
function hurry(server: Server): void {
  Object.assign(server, { headersTimeout: TIMEOUT, requestTimeout: TIMEOUT, connectionsCheckingInterval: 100 });
}

/** Begins at once; the test that it gives reports how it went. */
export function beginClocks(host: Host): (t: Test) => Promise<void> {
  const ends: (() => unknown)[] = [];
  const outcome = (async () => {
    const { connect, port } = await world({ teardown: (end) => ends.push(end) }, host, { afterAttach: hurry });
    // The first connection of all is the one that must be looked after.
    const first = await connect();
    const second = await connect();
    await first.say('a');
    const slow = new RawClient(port, 'GET /ws HTTP/1.1\r\n');
    const until = performance.now() + TIME;
    let rounds = 0;
    while (performance.now() < until) {
      await Promise.all([first, second].map((client) => client.exchange({ type: 'ping', id: rounds })));
      rounds += 1;
      await wait(100);
    }
    const text = await first.say('a');
    await slow.receives('\r\n\r\n');
    slow.socket.destroy();
    return { rounds, text, slow: slow.text };
  })();
  // The test that is returned reports the failure.
  outcome.catch(() => {});
  return async (t) => {
    for (const end of ends) t.teardown(end);
    const { rounds, text, slow } = await outcome;
    t.ok(rounds > TIME / TIMEOUT, `${rounds} rounds in ${TIME} ms`);
    t.equal(text, 'a #2: hello');
    t.match(slow, /^HTTP\/1.1 408/, 'a request that is slow was cut off, so the time-outs were in force');
  };
}
