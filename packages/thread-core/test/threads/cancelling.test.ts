import { getEventListeners } from 'node:events';
import t from 'tap';
import { faults } from '../../src/testing/index.js';
import { dispatch, methods, readAll, saidIn, say, settled, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };
const one = { data: { message: { role: 'agent', parts: [{ type: 'text', content: 'one' }] } } };

t.test('a signal that aborts closes the agent’s connection, and the send rejects with its reason [T-18]', async (t) => {
  for (const stream of [false, true]) {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(hello);
    const gate = agent.hold('chat.message');
    const controller = new AbortController();
    const { signal } = controller;
    const sent = settled(threads.sendToAgent(stream ? { ...hello, signal, stream } : { ...hello, signal }));
    await gate.arrived;
    const reason = new Error('the user went away');
    controller.abort(reason);
    t.equal((await sent).error, reason);
    await agent.waitFor(({ counters }) => counters.aborted === 1 && counters.running === 0);
    t.equal(agent.requests[1]?.aborted, true);
    gate.release();
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #3: hello', 'the thread stays usable');
  }
});

t.test('a signal that is aborted already sends nothing', async (t) => {
  const { agent, threads } = await setUp(t);
  const reason = new Error('too late');
  const { error } = await settled(threads.sendToAgent({ ...hello, signal: AbortSignal.abort(reason) }));
  t.equal(error, reason);
  t.equal(threads.hasThread('support'), false);
  t.equal(agent.counters.requests, 0);
});

t.test('a signal that aborts during a stream ends the loop with its reason', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  agent.script('chat.message', faults.stall(one));
  const controller = new AbortController();
  const stream = await threads.sendToAgent({ ...hello, signal: controller.signal, stream: true });
  const reason = new Error('enough');
  await t.rejects(
    (async () => {
      for await (const { event } of stream) {
        t.equal(event, 'content');
        controller.abort(reason);
      }
    })(),
    reason,
  );
  await agent.waitFor(({ counters }) => counters.aborted === 1);
});

t.test('AbortSignal.timeout ends a send with its TimeoutError', async (t) => {
  const { agent, threads } = await setUp(t);
  const gate = agent.hold('chat.start');
  await t.rejects(threads.sendToAgent({ ...hello, signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
  gate.release();
  await threads.endAllChats();
  t.equal(agent.counters.open, 0);
});

t.test('stream.cancel closes the agent’s connection, and ends the loop', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  agent.script('chat.message', faults.stall(one));
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await stream.next();
  const next = stream.next();
  stream.cancel();
  t.match(await next, { done: true });
  t.match(await stream.next(), { done: true });
  await agent.waitFor(({ counters }) => counters.aborted === 1 && counters.running === 0);
  stream.cancel();
  t.equal(saidIn(await threads.sendToAgent(hello)), 'support #3: hello');
});

t.test('leaving the loop closes the agent’s connection', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  agent.script('chat.message', faults.stall(one), faults.stall(one));
  for await (const { event } of await threads.sendToAgent({ ...hello, stream: true })) {
    t.equal(event, 'content');
    break;
  }
  await agent.waitFor(({ counters }) => counters.aborted === 1);
  const thrown = new Error('thrown in the loop');
  await t.rejects(
    (async () => {
      for await (const _event of await threads.sendToAgent({ ...hello, stream: true })) throw thrown;
    })(),
    thrown,
  );
  await agent.waitFor(({ counters }) => counters.aborted === 2 && counters.running === 0);
});

t.test(
  'a send that waits can be aborted: it never reaches the agent, and the next ones take its turn [T-19]',
  async (t) => {
    const { agent, threads } = await setUp(t);
    const gate = agent.hold('chat.start');
    const first = threads.sendToAgent(hello);
    const controller = new AbortController();
    const second = settled(threads.sendToAgent({ ...hello, signal: controller.signal }));
    const third = threads.sendToAgent({ ...hello, message: say('third') });
    await gate.arrived;
    const reason = new Error('changed my mind');
    controller.abort(reason);
    t.equal((await second).error, reason);
    gate.release();
    await first;
    t.equal(saidIn(await third), 'support #2: third');
    t.strictSame(methods(agent), ['chat.start', 'chat.message']);
    t.equal(agent.counters.aborted, 0);
  },
);

t.test('the send that waits behind a cancelled one runs at once', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  agent.script('chat.message', faults.hang());
  const first = dispatch(threads);
  const second = threads.sendToAgent(hello);
  await agent.waitFor(({ counters }) => counters.running === 1);
  first.send.cancel();
  t.equal(await first.listener.ended, 'cancelled');
  t.equal(saidIn(await second), 'support #3: hello');
  t.match(first.listener.error, { name: 'AbortError' });
});

t.test('if a send and the next one are cancelled, the second never reaches the agent [T-19]', async (t) => {
  const { agent, client, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const gate = agent.hold('chat.message');
  const calls = t.capture(client, 'prepareCall', client.prepareCall.bind(client));
  const [first, second] = [dispatch(threads), dispatch(threads)];
  await gate.arrived;
  first.send.cancel();
  second.send.cancel();
  gate.release();
  t.equal(saidIn(await threads.sendToAgent(hello)), 'support #3: hello');
  t.equal(calls().length, 2, 'the first, and the last');
});

t.test('a cancelled send receives nothing more, and cancelling it again does nothing', async (t) => {
  const { agent, threads } = await setUp(t);
  const gate = agent.hold('chat.start');
  const { listener, send } = dispatch(threads);
  await gate.arrived;
  send.cancel();
  send.cancel();
  gate.release();
  await threads.endAllChats();
  send.cancel();
  t.strictSame(listener.received, ['cancelled']);
  const answered = dispatch(threads);
  t.equal(await answered.listener.ended, 'response');
  answered.send.cancel();
  t.strictSame(answered.listener.received, ['response']);
});

t.test('a finished send keeps no listener on its signal', async (t) => {
  const { agent, threads } = await setUp(t);
  const { signal } = new AbortController();
  await threads.sendToAgent({ ...hello, signal });
  await readAll(await threads.sendToAgent({ ...hello, signal, stream: true }));
  agent.script('chat.message', { error: { code: -50_007 } }, { error: { code: -50_007 }, as: 'event' });
  await t.rejects(threads.sendToAgent({ ...hello, signal }));
  await readAll(await threads.sendToAgent({ ...hello, signal, stream: true }));
  const gate = agent.hold('chat.message');
  const sent = settled(threads.sendToAgent({ ...hello, signal }));
  await gate.arrived;
  await threads.endAllChats();
  t.match((await sent).error, { name: 'AbortError' });
  t.strictSame(getEventListeners(signal, 'abort'), []);
});

t.test('the answer of a send that was paused before it ran is read after it is resumed', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const gate = agent.hold('chat.message');
  const first = dispatch(threads);
  const second = dispatch(threads, { stream: true });
  second.send.pause();
  gate.release();
  await first.listener.ended;
  await agent.waitFor(({ counters }) => counters.requests === 3 && counters.running === 0);
  t.strictSame(second.listener.received, []);
  second.send.resume();
  t.equal(await second.listener.ended, 'done');
  t.strictSame(second.listener.received, ['content', 'content', 'content', 'done']);
});

t.test('[F-518] a signal that is aborted while its send begins cancels it', async (t) => {
  for (const stream of [false, true]) {
    const controller = new AbortController();
    const { signal } = controller;
    const hooks = { onStart: () => controller.abort(new Error('enough')) };
    const { agent, threads } = await setUp(t, { hooks });
    await t.rejects(threads.sendToAgent({ ...hello, signal, stream }), { message: 'enough' });
    await threads.endAllChats();
    t.equal(agent.counters.open, 0);
    t.strictSame(getEventListeners(signal, 'abort'), []);
  }
});
