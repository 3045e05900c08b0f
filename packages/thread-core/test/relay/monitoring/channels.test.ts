import { tracingChannel } from 'node:diagnostics_channel';
import t, { type Test } from 'tap';
import type { CallContext, SendContext, SessionContext } from '../../../src/index.js';
import { MessageRequest } from '../../../src/relay/sends/message-request.js';
import { faults } from '../../../src/testing/index.js';
import { readTraceContext } from '../../../src/threads/trace-context.js';
import { to, withDeadline, world } from '../helpers.js';

const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;

/** What is published on a tracing channel while a test runs: the event and a copy of its context. */
function record<Context extends object>(t: Test, name: string, onStart?: (context: Context) => void) {
  const seen: [string, Context][] = [];
  const waiters = new Set<() => void>();
  const subscribers = Object.fromEntries(
    EVENTS.map((event) => [
      event,
      (context: unknown) => {
        if (event === 'start') onStart?.(context as Context);
        seen.push([event, { ...(context as Context) }]);
        for (const waiter of waiters) waiter();
      },
    ]),
  ) as Record<(typeof EVENTS)[number], (context: unknown) => void>;
  const channel = tracingChannel<unknown, object>(name);
  channel.subscribe(subscribers);
  t.teardown(() => channel.unsubscribe(subscribers));
  const names = (): string[] => seen.map(([event]) => event);
  /** Resolves when so many have ended. */
  const ended = (count: number): Promise<void> =>
    withDeadline(
      new Promise((resolve) => {
        const look = (): void => {
          if (names().filter((event) => event === 'asyncEnd').length >= count) resolve();
        };
        waiters.add(look);
        look();
      }),
      `${count} ends on ${name}`,
    );
  const last = (): Context => seen.at(-1)?.[1] as Context;
  return { seen, names, ended, last };
}

t.test(
  'each session is published on the tracing channel arc.session, with what became of its chats [S-70]',
  async (t) => {
    const traced = record<SessionContext>(t, 'arc.session');
    const { agent, connect, sessions } = await world(t, { leaks: true, cleanupTimeout: 100 });
    const client = await connect();
    await client.ask(to('a'));
    await client.ask(to('b'));
    t.strictSame(traced.names(), ['start', 'end']);
    agent.script('chat.end', { ...faults.html(502), times: 99 });
    client.socket.close();
    await traced.ended(1);
    t.strictSame(traced.names(), ['start', 'end', 'asyncStart', 'asyncEnd']);
    t.strictSame(traced.last(), { sessionId: sessions[0]?.id, resumed: 0, sends: 2, ended: 0, orphans: 2 });
  },
);

t.test('a failure of the relay is published as the error of its session [S-70]', async (t) => {
  const traced = record<SessionContext>(t, 'arc.session');
  const all = await world(t);
  const client = await all.connect();
  Object.defineProperty(all.session, 'acceptFrame', {
    value: () => {
      throw new Error('broken');
    },
  });
  client.send({ type: 'ping' });
  t.equal((await client.closed).code, 1011);
  await traced.ended(1);
  t.strictSame(traced.names(), ['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
});

t.test(
  'each call is published on the tracing channel arc.call, and names its send, its chat and its session [S-70]',
  async (t) => {
    const calls = record<CallContext>(t, 'arc.call');
    const sends = record<SendContext>(t, 'arc.send');
    const { agent, connect, sessions } = await world(t);
    const client = await connect();
    await client.ask(to('support', 'hello', { trace_id: 'tr' }));
    t.strictSame(calls.names(), ['start', 'end', 'asyncStart', 'asyncEnd']);
    const { send, bytes, requestBytes, ...call } = calls.last();
    t.strictSame(call, {
      method: 'chat.start',
      agentId: 'support',
      chatId: sends.last().chatId,
      traceId: 'tr',
      sessionId: sessions[0]?.id,
      attempts: 1,
      address: agent.endpoint,
      state: 'response',
    });
    t.ok(bytes > 100 && requestBytes > 100, `${bytes} and ${requestBytes} bytes`);
    t.strictSame(send, sends.last(), 'the object that arc.send publishes');
    t.equal(sends.last().sessionId, sessions[0]?.id);

    agent.script('chat.message', { error: { code: -50_007 } });
    await client.ask(to('support'));
    t.strictSame(calls.names().slice(4), ['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
    t.match(calls.last(), { method: 'chat.message', state: 'error', error: { code: -50_007 } });

    const gate = agent.hold('chat.message');
    client.send(to('support', 'hello', { id: 'x' }));
    await gate.arrived;
    t.match(await client.ask({ type: 'cancel', id: 'x' }), { type: 'cancelled' });
    await calls.ended(3);
    gate.release();
    t.match(calls.last(), { state: 'cancelled' });

    await client.ask({ ...to('support'), stream: true });
    t.match(calls.last(), { state: 'done', attempts: 1 });
    client.socket.close();
    await calls.ended(5);
    t.match(calls.last(), { method: 'chat.end', send: undefined, state: 'response' });
  },
);

t.test('an error of the agent is no first piece, whether it is an event of a stream or not', async (t) => {
  const sends = record<SendContext>(t, 'arc.send');
  const times: unknown[] = [];
  const all = await world(t, {
    hooks: { onSend: (_session, { timeToFirstPiece }) => void times.push(timeToFirstPiece) },
  });
  const client = await all.connect();
  for (const as of ['envelope', 'event'] as const) {
    all.agent.script('chat.start', { error: { code: -50_007 }, as });
    t.match(await client.ask({ ...to('support'), stream: true }), { type: 'error' });
    t.equal(sends.last().firstPieceAt, undefined, as);
  }
  await client.ask({ ...to('support'), stream: true });
  t.type(sends.last().firstPieceAt, 'number');
  t.match(times, [undefined, undefined, Number]);
});

t.test('subscribers of arc.call add headers to a request, and run what sends it', async (t) => {
  const ran: string[] = [];
  record<CallContext>(t, 'arc.call', (context) => {
    context.headers = { 'X-Trace': String(context.traceId), 'User-Agent': 'traced' };
    context.run = (send) => {
      ran.push(`before ${context.traceId}`);
      send();
      ran.push(`after ${context.traceId}`);
    };
  });
  const { agent, connect } = await world(t, { headers: { 'x-trace': 'of the application' } });
  const client = await connect();
  await client.ask(to('support', 'hello', { trace_id: '1' }));
  await client.ask(to('support', 'hello', { trace_id: '2' }));
  t.strictSame(ran, ['before 1', 'after 1', 'before 2', 'after 2']);
  t.strictSame(
    agent.requests.map(({ headers }) => [headers['x-trace'], headers['user-agent']]),
    [
      ['1', 'traced'],
      ['2', 'traced'],
    ],
  );
});

t.test('without subscribers the fields of a trace are not even read [S-72] [F-455]', async (t) => {
  const read: string[] = [];
  const traceContext = Object.getOwnPropertyDescriptor(MessageRequest.prototype, 'traceContext');
  Object.defineProperty(MessageRequest.prototype, 'traceContext', {
    configurable: true,
    get(this: MessageRequest) {
      read.push(this.agentId);
      return traceContext?.get?.call(this);
    },
  });
  t.teardown(() => Object.defineProperty(MessageRequest.prototype, 'traceContext', traceContext ?? {}));
  const { connect } = await world(t);
  const client = await connect();
  await client.ask(to('unheard'));
  const sends = record<SendContext>(t, 'arc.send');
  await client.ask(to('heard'));
  t.strictSame(read, ['heard']);
  t.equal(sends.last().agentId, 'heard');
});

t.test('a headers function gets the session of the relay', async (t) => {
  const told: unknown[] = [];
  const { connect, sessions } = await world(t, {
    headers: ({ session }) => {
      told.push(session);
      return { 'x-user': String(session.identity) };
    },
  });
  const client = await connect();
  await client.ask(to('support'));
  t.equal(told[0], sessions[0]);
});

const NONE = { traceparent: undefined, tracestate: undefined, baggage: undefined };
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

t.test('the trace context of a message frame is given to the subscribers of arc.send [F-450]', async (t) => {
  const sends = record<SendContext>(t, 'arc.send');
  const { agent, connect } = await world(t);
  const client = await connect();
  const trace = { traceparent: TRACEPARENT, tracestate: 'vendor=1', baggage: 'user=7' };
  t.match(await client.ask(to('support', 'hello', trace)), { type: 'response' });
  t.strictSame(sends.last().traceContext, trace);
  t.notMatch(
    JSON.stringify(agent.requests.map(({ body, headers }) => [body, headers])),
    /0af7651916cd43dd|vendor=1|user=7/,
  );
  await client.ask(to('support'));
  t.strictSame(sends.last().traceContext, NONE);
});

t.test(
  'a trace context that is invalid or too long is ignored, and the message is still sent [F-451] [F-452] [F-454]',
  async (t) => {
    const sends = record<SendContext>(t, 'arc.send');
    const { connect } = await world(t);
    const client = await connect();
    const invalid = [
      7,
      null,
      {},
      [],
      '',
      'x',
      TRACEPARENT.toUpperCase(),
      `${TRACEPARENT}-more`,
      `ff${TRACEPARENT.slice(2)}`,
    ];
    for (const traceparent of invalid) {
      const more = { traceparent, tracestate: 'vendor=1', baggage: 7 };
      t.match(await client.ask(to('support', 'hello', more)), { type: 'response' }, JSON.stringify(traceparent));
      t.strictSame(sends.last().traceContext, NONE, 'tracestate is nothing without traceparent');
    }
    for (const value of ['"\\ud800"', `${'['.repeat(3000)}${']'.repeat(3000)}`]) {
      const text = JSON.stringify(to('support', '😀', { traceparent: 0, tracestate: 0, baggage: 0 }));
      client.socket.send(text.replaceAll(':0', `:${value}`).replace('😀', '\\ud83d\\ude00'));
      t.match(await client.next(), { type: 'response' });
      t.strictSame(sends.last().traceContext, NONE);
    }
    const zeros = (text: string): string => TRACEPARENT.replace(text, '0'.repeat(text.length));
    const later = `01${TRACEPARENT.slice(2)}-more`;
    for (const [fields, expected] of [
      [{ traceparent: zeros('0af7651916cd43dd8448eb211c80319c') }, NONE],
      [{ traceparent: zeros('b7ad6b7169203331') }, NONE],
      [{ traceparent: later }, { traceparent: later, tracestate: undefined, baggage: undefined }],
      [{ traceparent: later + 'x'.repeat(512) }, NONE],
      [
        { traceparent: TRACEPARENT, tracestate: 'a='.padEnd(513, 'x'), baggage: 'a='.padEnd(8193, 'x') },
        { traceparent: TRACEPARENT, tracestate: undefined, baggage: undefined },
      ],
      [{ baggage: 'a=1\r\nx: y' }, NONE],
      [{ baggage: 'a=1' }, { traceparent: undefined, tracestate: undefined, baggage: 'a=1' }],
    ] as const) {
      t.strictSame(
        readTraceContext(fields as { traceparent: unknown; tracestate: unknown; baggage: unknown }),
        expected,
      );
    }
  },
);
