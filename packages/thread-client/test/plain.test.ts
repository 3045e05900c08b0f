import { channel as diagnosticsChannel } from 'node:diagnostics_channel';
import t from 'tap';
import {
  AgentError,
  CancelledError,
  ClosedError,
  type Piece,
  SessionLostError,
  type ThreadClient,
} from '../src/index.js';
import { createWorld, failure, state, until } from './world.js';

t.test('a message is answered piece by piece, and the result is what the agent said last', async (t) => {
  const { client } = await createWorld(t);
  const turn = client().send('support', 'one two three', { stream: true, traceId: 'trace-1' });
  const pieces: Piece[] = [];
  for await (const piece of turn) pieces.push(piece);
  t.ok(pieces.length > 3);
  t.ok(pieces.every(({ type }) => type === 'content'));
  t.equal(pieces.map(({ text }) => text).join(''), 'support #1: one two three');
  t.match(await turn.result, { done: true });
  t.equal(await turn.text(), 'support #1: one two three', 'the text can be read after the loop');
  t.equal(turn.settled, true);
  t.equal(turn.restarted, false);
});

t.test('the trace context of a message reaches the relay', async (t) => {
  const { client } = await createWorld(t);
  const traceContext = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', baggage: 'plan=gold' };
  const seen: unknown[] = [];
  const record = (send: unknown) => void seen.push((send as { traceContext?: object }).traceContext);
  const channel = diagnosticsChannel('tracing:arc.send:start');
  channel.subscribe(record);
  t.teardown(() => channel.unsubscribe(record));
  await client().send('support', 'Hello', { traceContext }).text();
  t.strictSame(seen, [{ tracestate: undefined, ...traceContext }]);
});

t.test('an answer that is no stream is one piece, and the result is its envelope', async (t) => {
  const { client } = await createWorld(t);
  const turn = client().send('support', 'Hello');
  t.equal(await turn.text(), 'support #1: Hello');
  t.match(await turn.result, { result: { type: 'chat' } });
});

t.test('messages of one thread continue its chat, and other contexts have chats of their own', async (t) => {
  const world = await createWorld(t);
  const client = world.client();
  t.equal(await client.send('support', 'a').text(), 'support #1: a');
  t.equal(await client.send('support', 'b').text(), 'support #2: b');
  t.equal(await client.send('support', 'c', { contextId: 'other' }).text(), 'support #1: c');
  const threads = client.threads();
  t.match(threads, [
    { agentId: 'support', contextId: undefined },
    { agentId: 'support', contextId: 'other' },
  ]);
  t.equal(world.agent.counters.open, 2);
  await client.end('support', { reason: 'Solved' });
  t.equal(world.agent.counters.open, 1);
  t.equal(client.threads().length, 1);
  await client.close();
  await world.agent.waitFor('idle');
});

t.test('a relay that does not resume can be used, and the state says so', async (t) => {
  const { client } = await createWorld(t);
  const one = client();
  t.equal(one.resumable, undefined);
  t.match(await state(one, 'open'), { status: 'open', resumable: false, resumed: false });
  t.equal(one.resumable, false);
});

t.test('an error of the agent is an AgentError with its code, for the loop, the text and the result', async (t) => {
  const { agent, client } = await createWorld(t);
  agent.script('chat.start', { error: { code: -42_004, message: 'Broken', details: { why: 'x' } } });
  const turn = client().send('support', 'Hello', { stream: true });
  for (const promise of [turn.result, turn.text()]) {
    const error = await failure(promise);
    t.ok(error instanceof AgentError);
    t.match(error, { code: -42_004, message: 'Broken', details: { why: 'x' }, name: 'AgentError' });
  }
});

t.test('a turn can be cancelled by its method and by its signal, and leaving a loop does not cancel it', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const gate = agent.hold();
  const turn = one.send('support', 'Hello', { stream: true });
  await gate.arrived;
  turn.cancel();
  t.ok((await failure(turn.result)) instanceof CancelledError);
  gate.release();

  const second = agent.hold();
  const controller = new AbortController();
  const aborted = one.send('finance', 'Hello', { signal: controller.signal });
  await second.arrived;
  controller.abort(new Error('no more'));
  t.match(await failure(aborted.result), { code: 'CANCELLED', cause: { message: 'no more' } });
  second.release();

  t.match(await failure(one.send('hr', 'x', { signal: controller.signal }).result), { code: 'CANCELLED' });

  const left = one.send('hr', 'one two three', { stream: true });
  for await (const _ of left) break;
  t.equal(await left.text(), 'hr #1: one two three');
});

t.test('messages that are sent before there is a connection wait for it', async (t) => {
  const { client, proxy } = await createWorld(t);
  const one = client();
  const turns = ['a', 'b', 'c'].map((text) => one.send('support', text));
  t.strictSame(one.pending(), turns);
  t.strictSame(
    await Promise.all(turns.map((turn) => turn.text())),
    ['a', 'b', 'c'].map((text, index) => `support #${index + 1}: ${text}`),
  );
  t.equal(proxy.accepted, 1);
  t.strictSame(one.pending(), []);
});

t.test('without resume a cut fails sent turns, is reported, and the next turn is marked as restarted', async (t) => {
  const { agent, client, proxy } = await createWorld(t);
  const one = client();
  const lost: SessionLostError[] = [];
  one.on('lost', (error) => lost.push(error));
  t.equal(await one.send('support', 'a').text(), 'support #1: a');
  const gate = agent.hold();
  const turn = one.send('support', 'b');
  await gate.arrived;
  proxy.cut();
  const error = await failure(turn.result);
  t.ok(error instanceof SessionLostError);
  t.match(error, { code: 'SESSION_LOST', mayHaveReached: true, reason: 'unsupported' });
  gate.release();
  t.equal(lost.length, 1);
  const next = one.send('support', 'c');
  t.equal(await next.text(), 'support #1: c');
  t.equal(next.restarted, true, 'the agent has forgotten the chat');
  const last = one.send('support', 'd');
  await last.result;
  t.equal(last.restarted, false);
});

t.test('a cut with no thread open and nothing outstanding is no loss', async (t) => {
  const { client, proxy } = await createWorld(t);
  const one = client();
  one.on('lost', () => t.fail('nothing was lost'));
  await state(one, 'open');
  proxy.cut();
  await state(one, 'waiting');
  await state(one, 'open');
});

t.test('4401 and 4403 stop the client, and wake() tries again', async (t) => {
  let isKnown = false;
  const { client } = await createWorld(t, { authenticate: () => isKnown });
  const one = client();
  const turn = one.send('support', 'a');
  const error = await failure(turn.result);
  t.ok(error instanceof ClosedError);
  t.match(error, { code: 4401, mayHaveReached: false });
  t.match(one.state, { status: 'closed', error: { code: 4401 } });
  t.match(await failure(one.send('support', 'b').result), { code: 4401 });
  isKnown = true;
  one.wake();
  t.equal(await one.send('support', 'c').text(), 'support #1: c');
});

t.test('shouldRetry overrules the close code, and one that throws decides nothing', async (t) => {
  const { client, relay } = await createWorld(t);
  const events: unknown[] = [];
  const one = client({
    shouldRetry: (event) => {
      events.push(event);
      return false;
    },
  });
  await state(one, 'open');
  const two = client({
    shouldRetry: () => {
      throw new Error('broken');
    },
  });
  await state(two, 'open');
  await relay.close();
  await state(one, 'closed');
  t.match(events, [{ code: 1001 }]);
  t.equal(two.state.status === 'closed', false);
});

t.test('a client that is closed in shouldRetry does not connect again', async (t) => {
  const { client, relay } = await createWorld(t);
  const states: string[] = [];
  const one: ThreadClient = client({
    shouldRetry: () => {
      void one.close();
      return true;
    },
  });
  await state(one, 'open');
  one.on('state', ({ status }) => states.push(status));
  await relay.close();
  await state(one, 'closed');
  await one.close();
  t.strictSame(states, ['closed']);
});

t.test('the url may be a function that is called on each attempt, and its failure is a failed attempt', async (t) => {
  const { client, proxy } = await createWorld(t);
  let asked = 0;
  const one = client({
    url: async () => {
      asked += 1;
      if (asked === 1) throw new Error('no ticket');
      return `${proxy.url}?ticket=${asked}`;
    },
  });
  t.match(await state(one, 'waiting'), { code: 1006, reason: 'Error: no ticket' });
  await state(one, 'open');
  proxy.cut();
  await state(one, 'waiting');
  await state(one, 'open');
  t.equal(asked, 3);
});

t.test('after close() turns fail, nothing is sent, and the relay has no session left', async (t) => {
  const { agent, client, relay } = await createWorld(t);
  const one = client();
  await one.send('support', 'a').result;
  const gate = agent.hold();
  const turn = one.send('support', 'b');
  await gate.arrived;
  const closed = one.close();
  t.equal(one.close(), closed);
  await closed;
  t.match(await failure(turn.result), { code: 1000, mayHaveReached: true });
  t.match(await failure(one.send('support', 'c').result), { code: 1000, mayHaveReached: false });
  t.match(await failure(one.end('support')), { code: 1000 });
  one.wake();
  t.equal(one.state.status, 'closed');
  gate.release();
  await agent.waitFor('idle');
  await until(() => relay.stats().sessions === 0);
});

t.test('a listener that throws disturbs no other, and its error is reported', async (t) => {
  const { client } = await createWorld(t);
  const one = client();
  const errors: unknown[] = [];
  one.on('error', (error) => {
    errors.push(error);
    throw error;
  });
  one.on('state', () => {
    throw new Error('broken listener');
  });
  const seen: string[] = [];
  const stop = one.on('state', ({ status }) => seen.push(status));
  await one.send('support', 'a').result;
  t.ok(seen.includes('open'));
  t.match(errors, [{ message: 'broken listener' }]);
  stop();
  const before = seen.length;
  await one.close();
  t.equal(seen.length, before);
});

t.test('what the relay complains about that is no turn is an error event', async (t) => {
  const { client } = await createWorld(t, { replies: 'bare' });
  const one = client();
  await state(one, 'open');
  // A message without an agent, where the relay does not route.
  t.match(await failure(one.send(undefined, 'a').result), { code: -32_600 });
});

t.test('the error of a process without a global WebSocket says to pass one', async (t) => {
  const { createThreadClient } = await import('../src/index.js');
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  if (descriptor !== undefined) Reflect.deleteProperty(globalThis, 'WebSocket');
  t.teardown(() => descriptor && Object.defineProperty(globalThis, 'WebSocket', descriptor));
  t.throws(() => createThreadClient({ url: 'ws://127.0.0.1:1/' }), /'ws' package/);
});

t.test('an address that is none is a TypeError at once', async (t) => {
  const { createThreadClient } = await import('../src/index.js');
  const { WebSocket } = await import('ws');
  t.throws(() => createThreadClient({ url: 'not an address', WebSocket }), TypeError);
});
