import t from 'tap';
import type { SpokenTurn } from '../../../src/index.js';
import { deferred, say, to, world } from '../helpers.js';

t.test('onTurn tells what was said, whole or in pieces, and as far as an answer came [S-77]', async (t) => {
  const turns: SpokenTurn[] = [];
  let onTurn = (): void => {};
  const all = await world(t, {
    maxResponseBytes: 1000,
    leaks: true,
    hooks: {
      onTurn: (session, turn) => {
        t.equal(session, all.session);
        turns.push(turn);
        onTurn();
      },
    },
  });
  const client = await all.connect();
  await client.ask(to('support', 'Hello', { id: 1, context_id: 'c' }));
  const chatId = all.session.threads.getThreadId('support', 'c');
  const told = { id: 1, agentId: 'support', contextId: 'c', chatId, message: say('Hello') };
  t.strictSame(turns.at(-1), { ...told, answer: 'support #1: Hello', truncated: false, state: 'response' });
  await client.ask(to('support', 'Again', { id: 2, context_id: 'c', stream: true }));
  t.match(turns.at(-1), { id: 2, chatId, message: say('Again'), answer: 'support #2: Again', state: 'done' });

  all.agent.script('chat.start', { error: { code: -50_007 } });
  await client.ask(to('hr', 'x', { id: 4 }));
  t.match(turns.at(-1), { answer: '', state: 'error' });
  const gate = deferred();
  all.agent.script('chat.start', async function* () {
    yield 'a beginning';
    await gate.promise;
    yield ' and an end';
  });
  client.send(to('it', 'x', { id: 3, stream: true }));
  await client.next();
  const ended = new Promise<void>((resolve) => (onTurn = resolve));
  client.send({ type: 'cancel', id: 3 });
  await ended;
  gate.resolve();
  t.match(turns.at(-1), { id: 3, answer: 'a beginning', state: 'cancelled' });

  all.agent.script('chat.start', async function* () {
    for (let piece = 0; piece < 30; piece += 1) yield 'y'.repeat(100);
  });
  await client.next();
  await client.ask(to('long', 'x', { stream: true }));
  t.match(turns.at(-1), { truncated: true, state: 'done' });
  t.equal(turns.at(-1)?.answer.length, 1000, 'memory for an answer is limited as it is for one that is no stream');
});

t.test('an onTurn that throws changes nothing [S-77]', async (t) => {
  const all = await world(t, {
    hooks: {
      onTurn: () => {
        throw new Error('the database is away');
      },
    },
  });
  const client = await all.connect();
  t.match(await client.ask(to('a')), { type: 'response' });
  t.match(await client.ask({ ...to('a'), stream: true }), { type: 'done' });
  t.match(await all.log.line('the hook onTurn threw'), { level: 'error' });
});
