import type { Duplex } from 'node:stream';
import t from 'tap';
import { faults } from '../../../src/testing/index.js';
import type { ChatOutcome } from '../../../src/threads/ending.js';
import { type Frame, textOf, to, world } from '../helpers.js';

const typesOf = (frames: Frame[]): unknown[] => frames.map(({ type, id }) => [type, id]);

t.test('ping is answered by pong, with its id and nothing else [F-22] [F-65] [F-83] [F-92]', async (t) => {
  const { connect } = await world(t);
  const client = await connect();
  client.send({ type: 'ping' }, { type: 'ping', id: 'p' }, { type: 'ping', id: 0, agent_id: { x: 1 }, trace_id: 't' });
  t.strictSame(await client.all(3), [{ type: 'pong' }, { type: 'pong', id: 'p' }, { type: 'pong', id: 0 }]);
});

t.test('cancel of a running send closes its request to the agent, and ends it [F-16] [F-90] [T-18]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  const gate = agent.hold('chat.message');
  client.send(to('a', 'x', { id: 1, context_id: undefined, trace_id: 't' }));
  const request = await gate.arrived;
  client.send({ type: 'cancel', id: 1 });
  t.strictSame(await client.next(), { type: 'cancelled', id: 1, agent_id: 'a', trace_id: 't' });
  await agent.waitFor(() => request.aborted);
  gate.release();
  t.equal(textOf(await client.ask(to('a', 'next'))), 'a #3: next', 'the chat continues');
  t.strictSame(client.texts, []);
});

t.test('after a cancel in the middle of a stream no more of it is sent', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  agent.script('chat.start', faults.stall({ event: 'content', data: 1 }));
  client.send(to('a', 'x', { id: 's', stream: true }));
  t.equal((await client.next()).type, 'content');
  client.send({ type: 'cancel', id: 's' });
  t.strictSame(await client.next(), { type: 'cancelled', id: 's', agent_id: 'a' });
  await agent.waitFor(({ counters }) => counters.aborted === 1);
  t.strictSame(await client.rest(), []);
});

t.test('cancel of a first send that runs: the chat that it may have started is ended [F-18]', async (t) => {
  for (const createChat of ['at-once', 'when-ready'] as const) {
    const { agent, connect } = await world(t, { agent: { createChat, ignoreAbort: true } });
    const client = await connect();
    const gate = agent.hold('chat.start');
    client.send(to('a', 'x', { id: 1 }));
    await gate.arrived;
    t.equal((await client.ask({ type: 'cancel', id: 1 })).type, 'cancelled');
    gate.release();
    await agent.waitFor(({ counters }) => counters.started === 1 && counters.open === 0);
  }
});

t.test('a waiting send can be cancelled: it is never sent [F-16] [T-19]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const gate = agent.hold();
  client.send(to('a', '1', { id: 1 }), to('a', '2', { id: 2 }), to('a', '3', { id: 3 }));
  client.send({ type: 'cancel', id: 2 });
  t.strictSame(await client.next(), { type: 'cancelled', id: 2, agent_id: 'a' });
  gate.release();
  t.strictSame(typesOf(await client.all(2)), [
    ['response', 1],
    ['response', 3],
  ]);
  t.equal(agent.requests.length, 2);
  t.notOk(agent.requests.some(({ body }) => body.includes('"2"')));
});

t.test('cancel of an id that does not wait or run is ignored [F-17] [F-68]', async (t) => {
  const { connect, agent } = await world(t);
  const client = await connect();
  await client.ask(to('a', 'x', { id: 1 }));
  client.send({ type: 'cancel', id: 1 }, { type: 'cancel', id: 'never' });
  t.strictSame(await client.rest(), []);
  const gate = agent.hold();
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  client.send({ type: 'cancel', id: '1' });
  t.strictSame(await client.rest(), [], 'a string is not the number');
  gate.release();
  t.match(await client.next(), { type: 'response', id: 1 });
  t.strictSame(await client.rest(), []);
});

t.test('cancel and cancel again is answered once', async (t) => {
  const { connect, agent } = await world(t);
  const client = await connect();
  const gate = agent.hold();
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  client.send({ type: 'cancel', id: 1 }, { type: 'cancel', id: 1 });
  t.strictSame(typesOf(await client.rest()), [['cancelled', 1]]);
  gate.release();
});

t.test('cancel of several sends of one id cancels them all, in order [F-12] [F-16]', async (t) => {
  const { connect, agent } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  const gate = agent.hold();
  client.send(to('a', '1', { id: 1, trace_id: 'x' }), to('a', '2', { id: 1, trace_id: 'y' }));
  await gate.arrived;
  client.send({ type: 'cancel', id: 1 });
  t.strictSame(
    (await client.all(2)).map(({ trace_id }) => trace_id),
    ['x', 'y'],
  );
  gate.release();
  t.strictSame(await client.rest(), []);
});

t.test('cancel of several sends of one id keeps their order when others of before have ended [F-34]', async (t) => {
  const { connect, agent } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  const before = agent.hold({ agentId: 'b' });
  client.send(to('b', 'x', { id: 'b' }));
  await before.arrived;
  const gate = agent.hold({ agentId: 'a' });
  client.send(...['x', 'y', 'z'].map((trace_id) => to('a', trace_id, { id: 1, trace_id })));
  await gate.arrived;
  before.release();
  t.match(await client.next(), { type: 'response', id: 'b' });
  client.send({ type: 'cancel', id: 1 });
  t.strictSame(
    (await client.all(3)).map(({ trace_id }) => trace_id),
    ['x', 'y', 'z'],
  );
  gate.release();
});

t.test('what is answered reaches a client that closes with the same packet [F-22]', async (t) => {
  const { connect } = await world(t);
  const client = await connect();
  const { _socket: stream } = client.socket as unknown as { _socket: Duplex };
  stream.cork();
  client.send({ type: 'ping', id: 1 }, 'no JSON');
  client.socket.close(1000);
  stream.uncork();
  t.match(await client.all(2), [{ type: 'pong', id: 1 }, { type: 'error' }]);
  t.equal((await client.closed).code, 1000);
});

t.test('end ends the chat, and gives the answer of the agent; the next send starts a new one [F-91]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a', 'x', { context_id: 'c' }));
  await client.ask(to('a'));
  const chatId = agent.requests[0]?.chatId;
  const frame = { type: 'end', id: 'e', agent_id: 'a', context_id: 'c', reason: 'Issue resolved', trace_id: 't' };
  const { response, ...rest } = await client.ask(frame);
  t.strictSame(rest, { type: 'ended', id: 'e', agent_id: 'a', context_id: 'c', trace_id: 't' });
  t.match(response, { arc: '1.0', result: { chat: { chatId, status: 'CLOSED', reason: 'Issue resolved' } } });
  t.match(agent.requests.at(-1), { method: 'chat.end', chatId, traceId: 't', params: { reason: 'Issue resolved' } });
  t.equal(textOf(await client.ask(to('a', 'x', { context_id: 'c' }))), 'a #1: x');
  t.equal(textOf(await client.ask(to('a'))), 'a #2: hello', 'the other context is as it was');
});

t.test('the answer to chat.end is passed on byte for byte [S-11]', async (t) => {
  const { agent, connect } = await world(t, { leaks: true });
  const client = await connect();
  await client.ask(to('a'));
  const body = '{"arc":"1.0","id":"x",  "result":{"success":true,"n":12345678901234567890}}';
  agent.script('chat.end', { status: 200, body, headers: { 'content-type': 'application/arc+json' } });
  client.send({ type: 'end', agent_id: 'a' });
  t.equal(await client.text(), `{"type":"ended","agent_id":"a","response":${body}}`);
});

t.test('text in any script reaches clients and hooks as it is', async (t) => {
  const outcomes: ChatOutcome[] = [];
  const { agent, connect } = await world(t, {
    leaks: true,
    hooks: { onEnd: (_session, outcome) => outcomes.push(outcome) },
  });
  const client = await connect();
  const agentId = 'Größe 漢 😀';
  t.match(await client.ask(to(agentId, 'ä', { id: 'é', trace_id: 'ü' })), {
    id: 'é',
    agent_id: agentId,
    trace_id: 'ü',
  });
  agent.script('chat.message', {
    events: [`event: größer\ndata: {"ä":"漢"}\n\nevent: done\ndata: "ß"\n\n`],
    done: false,
  });
  client.send(to(agentId, 'x', { stream: true }));
  t.match(await client.all(2), [
    { type: 'event', agent_id: agentId, event: 'größer', data: { ä: '漢' } },
    { type: 'done', data: 'ß' },
  ]);
  agent.script('chat.message', { error: { code: -45_001, message: 'zu groß' } });
  t.match(await client.ask(to(agentId)), { type: 'error', data: { message: 'zu groß' } });
  const text = '{"arc":"1.0","id":"x","result":{"success":true,"reason":"groß"}}';
  agent.script('chat.end', { status: 200, body: text, headers: { 'content-type': 'application/arc+json' } });
  t.match(await client.ask({ type: 'end', agent_id: agentId }), { response: { result: { reason: 'groß' } } });
  t.match(outcomes, [{ agentId, text, response: { result: { reason: 'groß' } } }]);
});

t.test('end is answered also if there was no chat, or the agent had lost it [F-20] [F-98]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  t.strictSame(await client.ask({ type: 'end', agent_id: 'a', id: 1 }), { type: 'ended', id: 1, agent_id: 'a' });
  t.equal(agent.counters.requests, 0);
  await client.ask(to('a'));
  agent.forget();
  t.strictSame(await client.ask({ type: 'end', agent_id: 'a' }), { type: 'ended', agent_id: 'a' });
  t.strictSame(await client.ask({ type: 'end', agent_id: 'a' }), { type: 'ended', agent_id: 'a' });
});

t.test('end that the agent refuses is an error frame [F-81]', async (t) => {
  const { agent, connect } = await world(t, { leaks: true });
  const client = await connect();
  await client.ask(to('a'));
  agent.script('chat.end', { error: { code: -43_005, message: 'No', details: { x: 1 } } });
  t.strictSame(await client.ask({ type: 'end', agent_id: 'a', id: 1 }), {
    type: 'error',
    id: 1,
    agent_id: 'a',
    data: { code: -43_005, message: 'No', details: { x: 1 } },
  });
});

t.test('end cancels what runs and waits in that thread first, in order, and nothing else [F-19]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  const gate = agent.hold('chat.message');
  client.send(to('a', '1', { id: 1 }), to('a', '2', { id: 2 }), to('a', '3', { id: 3 }), to('b', 'x', { id: 4 }));
  t.match(await client.next(), { type: 'response', id: 4 });
  client.send(to('b', 'x', { id: 5 }), { type: 'end', agent_id: 'a', id: 'e' }, to('a', '4', { id: 6 }));
  const frames = await client.all(5);
  t.strictSame(typesOf(frames.slice(0, 3)), [
    ['cancelled', 1],
    ['cancelled', 2],
    ['cancelled', 3],
  ]);
  t.ok(frames.some(({ type, id }) => type === 'ended' && id === 'e'));
  const sixth = frames.find(({ id }) => id === 6) as Frame;
  t.equal(textOf(sixth), 'a #1: 4', 'a send after end starts a new chat');
  gate.release();
  t.match(await client.next(), { type: 'response', id: 5 });
  t.equal(agent.requests.filter(({ body }) => /"content":"[23]"/.test(body)).length, 0, 'what waited was never sent');
});

t.test('end while the chat is being started: the start is waited for, then the chat is ended', async (t) => {
  for (const createChat of ['at-once', 'when-ready'] as const) {
    const { agent, connect } = await world(t, { agent: { createChat } });
    const client = await connect();
    const gate = agent.hold('chat.start');
    client.send(to('a', 'x', { id: 1 }));
    await gate.arrived;
    client.send({ type: 'end', agent_id: 'a', id: 'e' });
    t.match(await client.next(), { type: 'cancelled', id: 1 });
    gate.release();
    t.match(await client.next(), { type: 'ended', id: 'e', response: { result: { chat: { status: 'CLOSED' } } } });
    t.match(agent.counters, { started: 1, ended: 1, open: 0 });
  }
});
