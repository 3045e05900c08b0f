import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { deferred, type Frame, to, world } from '../helpers.js';

const MiB = 1024 * 1024;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes of the heap that are in use after a garbage collection, text included. */
function usedHeap(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** A frame of about 1 MB whose parsed form takes more than 20 MiB. */
function amplifying(id: number, bytes = 1_000_000): string {
  const frame = JSON.stringify({ id, agent_id: 'a', message: { role: 'user', parts: [], extra: ['X'] } });
  const room = bytes - frame.length - 100;
  return frame.replace('"X"', `${'{},'.repeat(room / 3)}{}`);
}

const codeOf = (frame: Frame): number | undefined => (frame.data as { code?: number } | undefined)?.code;

t.test(
  'messages that wait for a slow agent are kept as text, and no more than maxPendingBytes [F-260] [S-40]',
  async (t) => {
    const all = await world(t, { maxBadFrames: 1000, maxThreads: 1 });
    const client = await all.connect();
    const gate = all.agent.hold('chat.start');
    const before = usedHeap();
    for (let id = 0; id < 32; id++) client.send(amplifying(id));
    const refused = await client.all(28);
    t.ok(refused.every((frame) => codeOf(frame) === -44_007));
    t.match(refused[0], { id: 4, data: { message: /bytes are pending/ } });
    const grown = (usedHeap() - before) / MiB;
    t.ok(grown < 40, `the heap grew by ${grown.toFixed(1)} MiB`);
    gate.release();
    t.match(
      await client.all(4),
      [0, 1, 2, 3].map((id) => ({ id, type: 'response' })),
    );
    t.equal((await client.ask(to('a', 'x', { id: 'later' }))).type, 'response', 'what was answered no longer counts');
  },
);

t.test('messages that an agent has received and not answered are kept as text [S-40]', async (t) => {
  const silent = createServer((request) => request.resume());
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => silent.closeAllConnections());
  t.teardown(() => silent.close());
  const endpoint = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
  const all = await world(t, { endpoint, cleanupTimeout: 1 });
  const client = await all.connect();
  const before = usedHeap();
  for (let id = 0; id < 4; id++) client.send(amplifying(id).replace('"a"', `"a${id}"`));
  t.strictSame(await client.rest(), []);
  t.equal(all.session.pending, 4);
  const grown = (usedHeap() - before) / MiB;
  t.ok(grown < 40, `the heap grew by ${grown.toFixed(1)} MiB`);
});

t.test('maxPendingBytes counts frames that wait for authorize together with pending sends [F-260]', async (t) => {
  const asked = deferred<boolean>();
  let calls = 0;
  const all = await world(t, {
    authorize: () => (++calls === 1 ? true : asked.promise),
    maxPendingBytes: 1000,
    maxFrameBytes: 10_000,
  });
  const client = await all.connect();
  const gate = all.agent.hold();
  const frame = (id: number): string => amplifying(id, 450);
  client.send(frame(1));
  await gate.arrived;
  client.send(frame(2), frame(3), { type: 'ping', id: 'small' });
  t.match(await client.next(), {
    type: 'error',
    id: 3,
    data: { code: -44_007, message: 'More than 1000 bytes are pending' },
  });
  asked.resolve(true);
  t.match(await client.next(), { type: 'pong', id: 'small' });
  gate.release();
  t.match(await client.all(2), [
    { id: 1, type: 'response' },
    { id: 2, type: 'response' },
  ]);
  t.equal((await client.ask(frame(4))).type, 'response');
});

t.test('end frames that an agent has not answered count for maxPendingBytes [F-501]', async (t) => {
  const all = await world(t, { maxPendingBytes: 10_000, maxFrameBytes: 10_000 });
  const client = await all.connect();
  for (const agent of ['a', 'b', 'c']) await client.ask(to(agent));
  const gate = all.agent.hold('chat.end');
  const end = (agent_id: string) => ({ type: 'end', id: agent_id, agent_id, reason: 'x'.repeat(4000) });
  client.send(end('a'), end('b'), end('c'));
  const error = { data: { code: -44_007, message: 'More than 10000 bytes are pending' } };
  t.match(await client.next(), { type: 'error', id: 'c', ...error });
  t.match(await client.ask(to('c', 'x'.repeat(3000), { id: 'long' })), { type: 'error', id: 'long', ...error });
  t.equal((await client.ask(to('c'))).type, 'response', 'what is refused is not ended');
  gate.release();
  t.match(await client.all(2), [{ type: 'ended' }, { type: 'ended' }]);
  t.match(await client.ask(end('c')), { type: 'ended', id: 'c' });
});

t.test('a connection that is not admitted yet makes the relay keep at most 64 KiB [F-261] [S-40]', async (t) => {
  const asked = deferred<unknown>();
  // A slow machine takes long to read these frames.
  const patient = { authenticateTimeout: 60_000, stalledTimeout: 60_000 };
  const all = await world(t, { attach: {}, authenticate: () => asked.promise, maxBadFrames: 1000, ...patient });
  const client = await all.connect();
  const before = usedHeap();
  for (let id = 0; id < 31; id++) client.send(amplifying(id));
  client.send(to('a', 'small', { id: 'small' }));
  const refused = await client.all(31);
  t.ok(refused.every((frame) => codeOf(frame) === -44_007));
  const grown = (usedHeap() - before) / MiB;
  t.ok(grown < 8, `the heap grew by ${grown.toFixed(1)} MiB`);
  asked.resolve('me');
  t.match(await client.next(), { type: 'response', id: 'small' });
});

t.test('a frame of maxFrameBytes always finds room when nothing is pending [F-260]', async (t) => {
  const all = await world(t, { maxFrameBytes: 6 * MiB, agent: { maxBodyBytes: 8 * MiB } });
  const client = await all.connect();
  t.equal((await client.ask(amplifying(1, 5 * MiB))).type, 'response');
});

t.test('a message that waited, or is sent again in a new chat, arrives as it was sent [F-29]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const metadata = { nested: { list: [1, 'two'] } };
  const message = { role: 'user', parts: [{ type: 'text', content: 'é \u2028 "quoted"' }], extra: 12345678901 };
  const gate = all.agent.hold();
  client.send(to('a', 'first', { id: 1 }), { id: 2, agent_id: 'a', message, metadata });
  await gate.arrived;
  await all.received(2);
  gate.release();
  await client.all(2);
  t.strictSame(all.agent.requests[1]?.params.message, message);
  all.agent.forget();
  t.match(await client.ask({ id: 3, agent_id: 'a', message, metadata }), { type: 'response', restarted: true });
  t.match(all.agent.requests.at(-1), { method: 'chat.start' });
  t.strictSame(all.agent.requests.at(-1)?.params.initialMessage, message);
  t.strictSame(all.agent.requests.at(-1)?.params.metadata, metadata);
});
