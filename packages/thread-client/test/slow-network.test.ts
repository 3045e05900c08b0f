// A network on which a large frame takes long: a pong comes behind it.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { createWorld, state } from './world.js';

/** Passes this many bytes a second on. */
const RATE = 100_000;
/** Takes four and a half seconds: more than the three that a pong may take at first. */
const LARGE = 'x'.repeat(4.5 * RATE);
const TICK_MS = 50;

/** A proxy that is slow in one direction. */
async function slow(t: Test, target: string, direction: 'up' | 'down') {
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  const pass = (from: Socket, to: Socket, isSlow: boolean): void => {
    const waiting: Buffer[] = [];
    if (!isSlow) return void from.on('data', (chunk) => to.write(chunk));
    from.on('data', (chunk: Buffer) => waiting.push(chunk));
    timers.add(
      setInterval(() => {
        const all = Buffer.concat(waiting.splice(0));
        const now = all.subarray(0, (RATE * TICK_MS) / 1000);
        if (now.length > 0) to.write(now);
        if (now.length < all.length) waiting.push(all.subarray(now.length));
      }, TICK_MS),
    );
  };
  const server = createServer((client) => {
    const relay = connect(Number(new URL(target).port), '127.0.0.1');
    for (const [one, other] of [
      [client, relay],
      [relay, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => other.destroy());
      pass(one, other, (one === client) === (direction === 'up'));
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => {
    for (const timer of timers) clearInterval(timer);
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
}

// The four at once: they only wait.
t.jobs = 4;
for (const direction of ['up', 'down'] as const) {
  for (const resume of [true, false]) {
    t.test(`${direction}, with resume ${resume}, a large frame arrives on a slow network [F-537]`, async (t) => {
      const { agent, client, proxy } = await createWorld(t, { resume });
      agent.script('chat.start', direction === 'down' ? LARGE : 'short');
      const one = client({ url: await slow(t, proxy.url, direction) });
      await state(one, 'open');
      const attempts: string[] = [];
      one.on('state', ({ status }) => attempts.push(status));
      const turn = one.send('support', direction === 'up' ? LARGE : 'short', { signal: AbortSignal.timeout(20_000) });
      // As when the user comes back to the page. The answer is under way by then.
      const looking = setInterval(() => one.wake(), 500);
      t.teardown(() => clearInterval(looking));
      t.equal((await turn.text()).length, direction === 'down' ? LARGE.length : 'short'.length);
      t.strictSame(attempts, resume ? ['waiting', 'resuming', 'open'] : []);
    });
  }
}
