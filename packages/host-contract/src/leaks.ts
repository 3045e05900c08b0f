import { readdirSync } from 'node:fs';
import { RawClient, until, upgrade, upgradeText } from './client.js';
import type { Declare, Host } from './host.js';
import { allGone, connections, type World, world } from './world.js';

/** Files and sockets that this process has open. */
const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Ways of being refused; the statuses are by `authorization`. */
const ways: ((port: number) => Promise<unknown>)[] = [
  (port) => upgrade(port, '/ws', { origin: 'https://elsewhere.example' }),
  (port) => upgrade(port, '/ws', { authorization: 'nobody' }),
  (port) => upgrade(port, '/nowhere'),
  async (port) => {
    // Closes its side, and still reads.
    const client = new RawClient(port, upgradeText('/ws', { authorization: 'nobody' }));
    client.socket.end();
    await client.closed;
  },
  async (port) => {
    // Sends data before the answer, and closes its side only after the server has.
    const client = new RawClient(port, upgradeText('/ws', { authorization: 'nobody' }), Buffer.alloc(100_000));
    client.socket.once('end', () => client.socket.end());
    await client.closed;
  },
  async (port) => {
    const client = new RawClient(port, upgradeText('/ws', { authorization: 'nobody' }));
    client.socket.once('connect', () => client.socket.resetAndDestroy());
    await client.closed;
  },
];

export function leaks(declare: Declare, host: Host): void {
  declare('1,000 refused connections leave no file descriptor open', [], async (t) => {
    const all = await world(t, host, {
      options: { authenticate: ({ headers }) => headers.authorization !== 'nobody' },
    });
    await refuse(all, 50);
    const before = descriptors();
    await refuse(all, 1000);
    t.equal(await connections(all.app), 0);
    // The clients' own ends are closed a little later.
    await until(() => descriptors() <= before, `no more than the ${before} descriptors of before are open`);
    t.equal(await (await all.connect()).say('a'), 'a #1: hello', 'and it still works');
  });
}

async function refuse({ port, app }: World, count: number): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await ways[next++ % ways.length]?.(port);
  };
  await Promise.all(Array.from({ length: 20 }, worker));
  await allGone(app);
}
