import { once } from 'node:events';
import { text } from '@arc/thread-protocol';
import t from 'tap';
import type { WebSocket } from 'ws';
import { deferred, maskedText, to, until, type World, world } from '../helpers.js';

for (const hook of ['onSend', 'onTurn'] as const) {
  t.test(`what ${hook} sends as the sends of its session are cancelled starts no chat [S-154]`, async (t) => {
    const sent: Promise<unknown>[] = [];
    const all = await world(t, {
      hooks: {
        [hook]: (
          { threads }: { threads: { sendToAgent(o: object): Promise<unknown> } },
          { state }: { state: string },
        ) => {
          if (state !== 'cancelled') return;
          const sending = threads.sendToAgent({ agentId: 'notes', message: text('one was cancelled') });
          sending.catch(() => {});
          sent.push(sending);
        },
      },
    });
    const client = await all.connect();
    await client.ask(to('a'));
    const gate = all.agent.hold('chat.message');
    client.send(to('a', 'x', { id: 1 }));
    await gate.arrived;
    all.session.close();
    gate.release();
    await all.session.closed;
    t.equal(sent.length, 1);
    for (const sending of sent) await t.rejects(sending, { name: 'AbortError' });
    t.match(all.agent.counters, { started: 1, open: 0 });
  });
}

t.test(
  'a hook that closes a session while its chats are being ended leaves none out of its outcomes [S-154]',
  async (t) => {
    const all = await world(t, {
      hooks: { onSend: (session, { state }) => void (state === 'cancelled' && session.close(4000)) },
    });
    const client = await all.connect();
    await client.ask(to('a'));
    await client.ask(to('b'));
    const gate = all.agent.hold('chat.message');
    client.send(to('a', 'x', { id: 1 }));
    await gate.arrived;
    all.session.close(4000);
    gate.release();
    t.equal((await all.session.closed).length, 2);
  },
);

t.test('sends of a session without a connection end at shutdown, too, with finish [F-556]', async (t) => {
  const told: unknown[] = [];
  const all = await world(t, {
    resume: true,
    onDisconnect: 'finish',
    hooks: { onSend: (_session, { state }) => void told.push(state) },
  });
  const client = await all.connect();
  client.send({ type: 'resume' });
  await client.next();
  const gate = all.agent.hold('chat.start');
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  const gone = once(all.sockets[0] as WebSocket, 'close');
  client.socket.terminate();
  await gone;
  const closing = all.relay.close({ timeout: 10_000 });
  setTimeout(() => gate.release(), 100);
  t.match(await closing, { ended: 1 });
  t.strictSame(told, ['response']);
});

t.test('an end that waits behind a decision when the relay closes is answered [F-164]', async (t) => {
  const asked = deferred<boolean>();
  const all = await world(t, { authorize: () => asked.promise });
  const client = await all.connect();
  all.session.threads.storeThreadId('b', 'elsewhere');
  client.send(to('a', 'x', { id: 1 }), { type: 'end', agent_id: 'b', id: 'e' });
  await all.received(2);
  const gate = all.agent.hold('chat.end');
  const closing = all.relay.close();
  t.match(await client.next(), { type: 'cancelled', id: 1 });
  await gate.arrived;
  await new Promise((resolve) => setTimeout(resolve, 100));
  gate.release();
  t.match(await client.next(), { type: 'ended', id: 'e' });
  await closing;
});

t.test('an end that comes while the relay closes is answered, though all sends end before [F-164]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const other = await all.connect();
  await client.ask(to('a'));
  const start = all.agent.hold('chat.start');
  other.send(to('b', 'x', { id: 1 }));
  await start.arrived;
  const gate = all.agent.hold('chat.end');
  const closing = all.relay.close();
  client.send({ type: 'end', agent_id: 'a', id: 'e' });
  await gate.arrived;
  start.release();
  t.match(await other.next(), { type: 'response', id: 1 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  gate.release();
  t.match(await client.next(), { type: 'ended', id: 'e' });
  await closing;
});

t.test(
  'a send that was refused as busy has its last frame before a close in the same turn [F-45] [F-107]',
  async (t) => {
    const all = await world(t, { busy: 'reject' });
    const socket = await all.connectRaw();
    const gate = all.agent.hold('chat.start');
    const received: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.write(maskedText(JSON.stringify(to('a', 'x', { id: 1 }))));
    await gate.arrived;
    const binary = Buffer.from([0x82, 0x80, 0, 0, 0, 0]);
    socket.write(Buffer.concat([maskedText(JSON.stringify(to('a', 'x', { id: 2 }))), binary]));
    await once(all.sockets[0] as WebSocket, 'close');
    const out = Buffer.concat(received).toString('latin1');
    t.match(out, /"type":"cancelled","id":1/);
    t.match(out, /"id":2/);
    gate.release();
  },
);

for (const limit of ['maxSessionAge', 'stalledTimeout'] as const) {
  t.test(
    `a client that has closed its connection has its sends finished, whatever ${limit} says [F-159]`,
    async (t) => {
      const told: unknown[] = [];
      const all = await world(t, {
        onDisconnect: 'finish',
        [limit]: 600,
        maxBufferedBytes: 1000,
        hooks: { onSend: (_session, { state }) => void told.push(state) },
      });
      const socket = await all.connectRaw();
      const gate = all.agent.hold({ agentId: 'b' });
      socket.write(maskedText(JSON.stringify(to('b', 'x', { id: 1 }))));
      await gate.arrived;
      socket.pause();
      if (limit === 'stalledTimeout') {
        all.agent.script({ agentId: 'a' }, 'x'.repeat(12_000_000));
        socket.write(maskedText(JSON.stringify(to('a', 'x', { id: 2 }))));
        await until(() => told.length === 1, 'the large answer');
      }
      // A close frame, after which the TCP connection stays open.
      socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
      await new Promise((resolve) => setTimeout(resolve, 1000));
      gate.release();
      await until(() => told.length === (limit === 'stalledTimeout' ? 2 : 1), 'the send to end');
      t.equal(told.at(-1), 'response');
      socket.destroy();
    },
  );
}

for (const [what, close] of [
  ['session', (all: World) => all.session.close(4000)],
  ['relay', (all: World) => void all.relay.close({ timeout: 0 })],
] as const) {
  t.test(`a message whose hook onSendStart closes the ${what} is answered before the close frame [F-45]`, async (t) => {
    const all: World = await world(t, { hooks: { onSendStart: () => close(all) } });
    const client = await all.connect();
    client.send(to('a', 'x', { id: 1 }));
    await client.closed;
    t.match(
      client.texts.map((frame) => JSON.parse(frame)),
      [{ type: 'cancelled', id: 1 }],
    );
    t.equal(client.texts.length, 1);
    t.equal(all.agent.counters.requests, 0);
    t.strictSame(all.relay.stats().sends, { response: 0, done: 0, error: 0, cancelled: 1 });
  });
}

t.test('a code that cannot be sent is an error, too, for a session without a connection [S-171]', async (t) => {
  const all = await world(t, { resume: true });
  const client = await all.connect();
  client.send({ type: 'resume' });
  await client.next();
  await client.ask(to('a', 'x', { id: 1 }));
  const gone = once(all.sockets[0] as WebSocket, 'close');
  client.socket.terminate();
  await gone;
  t.throws(() => all.session.close(1005), TypeError);
  await all.session.closed;
  t.equal(all.agent.counters.open, 0);
});
