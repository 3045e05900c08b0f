import { once } from 'node:events';
import { type Client, type Frame, type Json, to, until } from '@arc/test-client';
import type { TestAgent } from '@arc/thread-core/testing';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import t, { type Test } from 'tap';
import { ArcInstrumentation } from '../src/index.js';
import { BROWSER, checkTree, named, TRACE } from './tree.js';
import { type ClusterNode, cluster, meterProvider, readMetrics, takeSpans, tracerProvider } from './world.js';

registerInstrumentations({
  tracerProvider,
  meterProvider,
  instrumentations: [new ArcInstrumentation({ enabled: false })],
});
t.beforeEach(() => void takeSpans());

const frame = (text: string, id: number): Json => ({ ...to('support', text, { id }), ...BROWSER });

async function resume(node: ClusterNode, more: object = {}): Promise<[Client, Frame & { session: string }]> {
  const client = await node.connect();
  client.send({ type: 'resume', ...more });
  return [client, (await client.next()) as Frame & { session: string }];
}

/** A session in which one message runs until the gate is released, and another waits for it. */
async function runAndWait(agent: TestAgent, node: ClusterNode) {
  const [first, { session }] = await resume(node);
  await first.ask(frame('x', 1));
  const gate = agent.hold('chat.message');
  first.send(frame('running', 2), frame('waiting', 3));
  await gate.arrived;
  return { first, session, gate };
}

/** How the sends ended, in the order in which they did. */
const endsOf = (spans: readonly ReadableSpan[]): unknown[] =>
  named(spans, 'invoke_agent support').map(({ attributes }) => attributes['arc.state']);

/** How many sessions are active, by the metric. */
async function activeSessions(): Promise<unknown[] | undefined> {
  return (await readMetrics()).get('arc.relay.active_sessions')?.dataPoints.map(({ value }) => value);
}

/** Ends what is left of the session, and checks the whole trace. */
async function finish(t: Test, node: ClusterNode, spans: ReadableSpan[]): Promise<void> {
  t.strictSame(await activeSessions(), [1], 'a session that has moved counts where it is now');
  const [session] = node.relay.sessions;
  session?.close();
  await session?.closed;
  spans.push(...takeSpans());
  checkTree(t, spans);
  for (const span of spans) {
    if (span.name !== 'chat.end')
      t.equal(span.spanContext().traceId, TRACE, `${span.name} is in the trace of the browser`);
  }
  t.equal(named(spans, 'chat.end').length, 1, 'one node ends the chat');
  t.strictSame(await activeSessions(), [0], 'no session counts twice, or for ever');
}

t.test('a session that moves between messages has one trace, whichever node sends [S-70]', async (t) => {
  const { nodes } = await cluster(t);
  const [a, b] = nodes;
  const [first, { session }] = await resume(a);
  await first.ask(frame('x', 1));
  const [second, ready] = await resume(b, { session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  await second.ask(frame('y', 2));
  const spans = takeSpans();
  t.strictSame(endsOf(spans), ['response', 'response']);
  t.equal(named(spans, 'chat.message').length, 1, 'the chat continues');
  await finish(t, b, spans);
});

t.test(
  'at a handover what waits ends its span here, and begins one at the other node with the same parent [S-70]',
  async (t) => {
    const { agent, nodes } = await cluster(t);
    const [a, b] = nodes;
    const { first, session, gate } = await runAndWait(agent, a);
    const closed = once(first.socket, 'close');
    const closing = a.relay.close({ timeout: 30_000 });
    gate.release();
    t.match(await first.next(), { id: 2, type: 'response' });
    await closed;
    await closing;
    const spans = takeSpans();
    t.strictSame(endsOf(spans), ['response', 'cancelled', 'response'], 'what waits is given up first');
    const [second, ready] = await resume(b, { session, seq: 2, sent: 3 });
    t.match(ready, { resumed: true, pending: [3] });
    t.match(await second.next(), { id: 3, type: 'response' });
    spans.push(...takeSpans());
    t.strictSame(endsOf(spans), ['response', 'cancelled', 'response', 'response']);
    await finish(t, b, spans);
  },
);

t.test('a node that a client is passed on to traces no send a second time, and a handover none [S-70]', async (t) => {
  const { agent, nodes } = await cluster(t);
  const [a, b] = nodes;
  const [first, { session }] = await resume(a);
  const gate = agent.hold('chat.start');
  first.send(frame('x', 1));
  await gate.arrived;
  const [second, ready] = await resume(b, { session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, pending: [1] });
  gate.release();
  t.match(await second.next(), { id: 1, type: 'response' });
  await second.ask(frame('y', 2));
  const spans = takeSpans();
  t.strictSame(endsOf(spans), ['response', 'response']);
  await until(() => b.relay.stats().sessions === 1 && a.relay.stats().sessions === 0, 'the session to move');
  await finish(t, b, spans);
});

t.test(
  'when a session of a dead node is claimed, what ran there ends its spans, and the trace goes on [S-70]',
  async (t) => {
    const { agent, nodes } = await cluster(t);
    const [a, b] = nodes;
    const { first, session, gate } = await runAndWait(agent, a);
    a.isCutOff = true;
    first.socket.terminate();
    const [second, ready] = await resume(b, { session, seq: 1, sent: 3 });
    t.match(ready, { resumed: true, pending: [] });
    gate.release();
    t.match(await second.ask(frame('z', 4)), { type: 'response' });
    a.isCutOff = false;
    await until(() => a.relay.stats().sessions === 0, 'the former owner to give the session up');
    const spans = takeSpans();
    const ends = endsOf(spans);
    t.equal(ends.length, 4, 'each send has one span');
    t.notOk(ends.includes(undefined), String(ends));
    await finish(t, b, spans);
  },
);
