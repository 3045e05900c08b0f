import { once } from 'node:events';
import { text } from '@arc/thread-protocol';
import t from 'tap';
import type { WebSocket } from 'ws';
import { to, world } from '../helpers.js';

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
