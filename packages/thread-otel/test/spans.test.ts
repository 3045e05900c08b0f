import { once } from 'node:events';
import { type Client, deferred, type Frame, to } from '@arc/test-client';
import { ArcClient, ThreadManager, text } from '@arc/thread-core';
import { faults } from '@arc/thread-core/testing';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import t from 'tap';
import { ArcInstrumentation } from '../src/index.js';
import { BROWSER, BROWSER_SPAN, checkTree, named, parentOf, TRACE } from './tree.js';
import { openSpans, takeSpans, tracerProvider, type World, world } from './world.js';

const instrumentation = new ArcInstrumentation({ enabled: false });
registerInstrumentations({ tracerProvider, instrumentations: [instrumentation] });
t.beforeEach(() => void takeSpans());

/** Ends the sessions, and resolves when all chats are ended. */
async function finish({ relay }: World): Promise<void> {
  const closed = [...relay.sessions].map((session) => {
    session.close();
    return session.closed;
  });
  await Promise.all(closed);
}

t.test('a trace leads from the browser over the send and the call to the agent [F-453]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const frame = { ...to('support', 'hello', { context_id: 'order', trace_id: 'tr' }), ...BROWSER };
  t.match(await client.ask(frame), { type: 'response' });
  const [request] = all.agent.requests;
  const spans = takeSpans();
  t.strictSame(
    spans.map(({ name }) => name),
    ['chat.start', 'invoke_agent support'],
  );
  const [call, send] = spans as [ReadableSpan, ReadableSpan];
  t.equal(parentOf(send), BROWSER_SPAN);
  t.equal(parentOf(call), send.spanContext().spanId);
  for (const span of spans) t.equal(span.spanContext().traceId, TRACE);
  t.equal(request?.headers.traceparent, `00-${TRACE}-${call.spanContext().spanId}-01`);
  t.equal(request?.headers.tracestate, 'vendor=1');
  t.equal(request?.headers.baggage, 'plan=gold,user=7');
  const { hostname, port } = new URL(all.agent.endpoint);
  const [chatId] = all.agent.chats.keys();
  const server = { 'server.address': hostname, 'server.port': Number(port) };
  const sessionId = all.sessions[0]?.id;
  t.match(send, { kind: SpanKind.CLIENT, status: { code: SpanStatusCode.UNSET } });
  t.strictSame(
    { ...send.attributes, 'arc.response.size': undefined },
    {
      'gen_ai.operation.name': 'invoke_agent',
      'gen_ai.provider.name': 'arc',
      'gen_ai.agent.id': 'support',
      'gen_ai.agent.name': 'support',
      'gen_ai.conversation.id': chatId,
      ...server,
      'arc.session.id': sessionId,
      'arc.context_id': 'order',
      'arc.trace_id': 'tr',
      'arc.stream': false,
      'arc.restarted': false,
      'arc.state': 'response',
      'arc.response.size': undefined,
    },
  );
  t.match(call, { kind: SpanKind.CLIENT, attributes: { ...server, 'arc.method': 'chat.start', 'arc.attempts': 1 } });
  t.equal(call.attributes['gen_ai.conversation.id'], chatId);
  await finish(all);
  checkTree(t, [...spans, ...takeSpans()]);
});

t.test('a frame without a trace begins one of its own, and so it is with clientContext: false', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('support'));
  instrumentation.setConfig({ clientContext: false });
  t.teardown(() => instrumentation.setConfig({}));
  await client.ask({ ...to('support'), ...BROWSER });
  const spans = takeSpans();
  const sends = named(spans, 'invoke_agent support');
  t.strictSame(sends.map(parentOf), [undefined, undefined]);
  const traces = new Set(spans.map((span) => span.spanContext().traceId));
  t.equal(traces.size, 2);
  t.notOk(traces.has(TRACE));
  t.equal(all.agent.requests[1]?.headers.baggage, undefined);
});

t.test('parents are right and every span ends over errors, retries and lost chats [S-70]', async (t) => {
  const all = await world(t, { cleanupTimeout: 200 });
  const client = await all.connect();
  const ask = (more: object = {}): Promise<Frame> => client.ask({ ...to('support'), ...BROWSER, ...more });
  const send = (): ReadableSpan => named(takeSpans(), 'invoke_agent support')[0] as ReadableSpan;
  const spans: ReadableSpan[] = [];

  all.agent.script('chat.start', { error: { code: -50_007, message: 'secret of the agent' } });
  await ask();
  t.match(send(), {
    attributes: { 'error.type': '-50007', 'arc.state': 'error' },
    status: { code: SpanStatusCode.ERROR },
  });
  all.agent.script('chat.start', { ...faults.html(502), times: 1 });
  await ask();
  const failed = send();
  t.match(failed, {
    attributes: { 'error.type': '-41003' },
    status: { code: SpanStatusCode.ERROR, message: /HTTP 502/ },
  });
  all.agent.script('chat.start', { error: { code: -50_007, message: 'secret of the agent' }, as: 'event' });
  await ask({ stream: true });
  const streamed = send();
  t.match(streamed, { attributes: { 'error.type': '-50007' } });
  t.notMatch(JSON.stringify([streamed.status, streamed.attributes, streamed.events]), /secret/);
  all.agent.script('chat.start', { reply: 'cut short', after: 10, finish: 'reset' } as never);
  await ask({ stream: true });
  t.match(send(), { attributes: { 'arc.state': 'error' } });

  await ask();
  takeSpans();
  all.agent.forget();
  t.match(await ask(), { type: 'response', restarted: true });
  spans.push(...takeSpans());
  // The chat of the stream that was cut short may be ended meanwhile.
  const sent = spans.filter(({ name }) => name !== 'chat.end');
  t.strictSame(
    sent.map(({ name }) => name),
    ['chat.message', 'chat.start', 'invoke_agent support'],
  );
  t.equal(sent[2]?.attributes['arc.restarted'], true);
  await finish(all);
  checkTree(t, [...spans, ...named(takeSpans(), 'chat.end')]);
});

t.test(
  'parents are right and every span ends over cancels, queues, ended threads and lost connections [S-70]',
  async (t) => {
    const all = await world(t, { cleanupTimeout: 200 });
    const client = await all.connect();
    const frame = (id: string, more: object = {}) => ({ ...to('support', id, { id }), ...BROWSER, ...more });
    const gate = all.agent.hold({});
    client.send(frame('running'), frame('queued'), { type: 'cancel', id: 'queued' }, { type: 'cancel', id: 'running' });
    await client.all(2);
    client.send(frame('ended'), { type: 'end', agent_id: 'support' });
    t.match(await client.next(), { type: 'cancelled' });
    gate.release();
    const started = deferred();
    all.agent.script('chat.start', async function* () {
      yield 'a piece';
      started.resolve();
      await new Promise(() => {});
    });
    client.send(frame('streaming', { stream: true }), frame('behind it'));
    await started.promise;
    client.socket.terminate();
    await Promise.all(all.sessions.map(({ closed }) => closed));
    const spans = takeSpans();
    const states = named(spans, 'invoke_agent support').map(({ attributes }) => attributes['arc.state']);
    t.strictSame(states, ['cancelled', 'cancelled', 'cancelled', 'cancelled', 'cancelled']);
    checkTree(t, spans);
  },
);

t.test('a send continues over a lost connection, and its spans end when it is answered [S-70]', async (t) => {
  const all = await world(t, { resume: true });
  const gate = deferred();
  all.agent.script('chat.start', async function* () {
    yield 'before ';
    await gate.promise;
    yield 'after';
  });
  const resume = async (more: object): Promise<[Client, Frame]> => {
    const client = await all.connect();
    client.send({ type: 'resume', ...more });
    return [client, await client.next()];
  };
  const [first, { session }] = await resume({});
  first.send({ ...to('support', 'x', { id: 'q', stream: true }), ...BROWSER });
  await first.next();
  const gone = once(all.sockets[0] as object as NodeJS.EventEmitter, 'close');
  first.socket.terminate();
  await gone;
  t.strictSame(takeSpans(), [], 'nothing has ended');
  const [second] = await resume({ session, seq: 1, sent: 1 });
  gate.resolve();
  t.match((await second.answer()).at(-1), { type: 'done', id: 'q' });
  await finish(all);
  const spans = takeSpans();
  t.match(named(spans, 'invoke_agent support'), [{ attributes: { 'arc.state': 'done', 'arc.stream': true } }]);
  checkTree(t, spans);
});

t.test('spans end with a session whose client does not come back, and its traces have no orphan [S-70]', async (t) => {
  const all = await world(t, { resume: { grace: 1 }, cleanupTimeout: 200 });
  const client = await all.connect();
  client.send({ type: 'resume' });
  await client.next();
  const gate = all.agent.hold({});
  client.send(
    { ...to('support', 'running', { id: 1 }), ...BROWSER },
    { ...to('support', 'queued', { id: 2 }), ...BROWSER },
  );
  await gate.arrived;
  client.socket.terminate();
  await all.sessions[0]?.closed;
  gate.release();
  const spans = takeSpans();
  const states = named(spans, 'invoke_agent support').map(({ attributes }) => attributes['arc.state']);
  t.strictSame(states, ['cancelled', 'cancelled']);
  checkTree(t, spans);
});

t.test('a chat.start that runs on after its thread was ended ends its span, and then its chat [S-70]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  client.send({ ...to('support', 'x', { id: 'q' }), ...BROWSER });
  await gate.arrived;
  client.send({ type: 'end', agent_id: 'support' });
  t.match(await client.next(), { type: 'cancelled', id: 'q' });
  t.strictSame(openSpans(), ['chat.start'], 'the request runs on');
  const [send] = takeSpans() as [ReadableSpan];
  gate.release();
  t.match(await client.next(), { type: 'ended' });
  const spans = takeSpans();
  t.strictSame(
    spans.map(({ name, attributes }) => [name, attributes['arc.state']]),
    [
      ['chat.start', 'response'],
      ['chat.end', 'response'],
    ],
  );
  checkTree(t, [send, ...spans]);
});

t.test('a hook runs in the span of no other send, though a connection to an agent serves many', async (t) => {
  const active: unknown[] = [];
  const all = await world(t, {
    hooks: { onSend: () => void active.push(trace.getActiveSpan()?.spanContext().traceId) },
  });
  const client = await all.connect();
  for (const agent of ['support', 'hr']) t.match(await client.ask({ ...to(agent), ...BROWSER }), { type: 'response' });
  t.equal(all.agent.counters.accepted, 1, 'both were sent over one connection');
  t.strictSame(active, [undefined, undefined]);
});

t.test('what the application itself sends has its active span as parent', async (t) => {
  const all = await world(t);
  const client = new ArcClient({ endpoint: all.agent.endpoint });
  const threads = new ThreadManager(client);
  await trace.getTracer('app').startActiveSpan('of the application', async (span) => {
    await threads.sendToAgent({ agentId: 'support', message: text('hello') });
    await client.chat.start({ targetAgent: 'hr', initialMessage: text('hello'), chatId: 'c-1' });
    await client.chat.end({ targetAgent: 'hr', chatId: 'c-1' });
    await client.task.create({ targetAgent: 'hr', initialMessage: text('hello') });
    await t.rejects(client.task.info({ targetAgent: 'hr', taskId: 'none' }), { code: -42_001 });
    await threads.endAllChats();
    span.end();
  });
  await client.close();
  const spans = takeSpans();
  const own = named(spans, 'of the application')[0]?.spanContext().spanId;
  const send = named(spans, 'invoke_agent support')[0]?.spanContext().spanId;
  t.strictSame(
    spans.map((span) => [span.name, parentOf(span)]),
    [
      ['chat.start', send],
      ['invoke_agent support', own],
      ['chat.start', own],
      ['chat.end', own],
      ['task.create', own],
      ['task.info', own],
      ['chat.end', own],
      ['of the application', undefined],
    ],
  );
  t.match(named(spans, 'task.info'), [{ attributes: { 'error.type': '-42001' } }]);
  t.strictSame(openSpans(), []);
});
