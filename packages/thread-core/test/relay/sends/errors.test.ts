import t, { type Test } from 'tap';
import { ArcError } from '../../../src/index.js';
import { type Answer, faults } from '../../../src/testing/index.js';
import { DEAD_PORT } from '../../client/support.js';
import { type Frame, type Json, streamedText, to, type World, type WorldOptions, world } from '../helpers.js';

type ErrorData = { code: number; message: string; details?: unknown };
const dataOf = (frame: Frame): ErrorData => frame.data as ErrorData;

/** Faults leave chats that may or may not exist: the relay looks for them that long. */
const quick = { cleanupTimeout: 100 };

t.test("an agent's error keeps its code, message and details [F-28] [F-89] [F-122] [F-124]", async (t) => {
  const { agent, connect } = await world(t, quick);
  const client = await connect();
  const errors: ErrorData[] = [
    { code: -43_005, message: 'Bad message', details: { part: 1, why: [null] } },
    { code: -44_001, message: 'Who are you?' },
    { code: -44_002, message: 'Not you', details: 'text' },
    { code: -50_123, message: 'An own one', details: 0 },
    { code: 7, message: 'Not even negative', details: false },
    { code: -41_003, message: 'Another agent is gone' },
  ];
  for (const error of errors) {
    for (const as of ['envelope', 'event'] as const) {
      agent.script('chat.start', { error, as, status: 400 });
      const { type, data } = await client.ask(to('a', 'x', { stream: as === 'event' }));
      t.strictSame([type, data], ['error', error], `${error.code} as ${as}`);
    }
  }
});

t.test('-32603 of an agent goes without its details, which are in the log [F-40] [S-14]', async (t) => {
  const { agent, connect, log } = await world(t, quick);
  const client = await connect();
  const details = { trace: 'at secret.py:1' };
  for (const as of ['envelope', 'event'] as const) {
    agent.script('chat.start', { error: { code: -32_603, message: 'It broke', details }, as });
    const { data } = await client.ask(to('a', 'x', { stream: as === 'event' }));
    t.strictSame(data, { code: -32_603, message: 'It broke' });
  }
  t.match(log.at('error'), [{ about: { err: { details } } }, { about: { err: { details } } }]);
});

t.test('[F-201] a function that must not be async ends its send with -32603, and the log names it', async (t) => {
  const resolves = async (): Promise<unknown> => ({});
  const rejects = async (): Promise<unknown> => {
    throw new Error('broken');
  };
  for (const name of ['headers', 'endpoint', 'agents'] as const) {
    for (const given of [resolves, rejects]) {
      const { agent, connect, log } = await world(t, { ...quick, [name]: given });
      const client = await connect();
      t.match(await client.ask(to('a')), { type: 'error', data: { code: -32_603 } }, name);
      const message = `${name}: the function must not be async`;
      const [{ err }] = log.at('error').map(({ about }) => about) as [{ err: Error }];
      t.match(err.cause ?? err, { name: 'TypeError', message });
      t.equal(agent.counters.requests, 0);
    }
  }
});

t.test('error events in every form that agents use [F-41] [F-96]', async (t) => {
  const { agent, connect } = await world(t, quick);
  const client = await connect();
  const cases: [data: unknown, told: ErrorData][] = [
    [
      { chatId: 'c', error: { code: -43_005, message: 'No' } },
      { code: -43_005, message: 'No' },
    ],
    [{ error: { code: -43_005, message: 'No', details: [1] } }, { code: -43_005, message: 'No', details: [1] }],
    [
      { code: -43_005, message: 'No', data: { old: 1 } },
      { code: -43_005, message: 'No', details: { old: 1 } },
    ],
    ['plain text', { code: -32_603, message: 'plain text' }],
    [{ error: 'as text' }, { code: -32_603, message: 'as text' }],
    [{ message: 'no code' }, { code: -32_603, message: 'no code' }],
    [
      { code: '-43001', message: 'text for a code' },
      { code: -32_603, message: 'text for a code' },
    ],
    [
      { code: 1.5, message: 'half a code' },
      { code: -32_603, message: 'half a code' },
    ],
    ['', { code: -32_603, message: 'The agent gave no reason' }],
    ['null', { code: -32_603, message: 'The agent gave no reason' }],
    [{ code: -43_005 }, { code: -43_005, message: 'The agent gave no reason' }],
    ['[1]', { code: -32_603, message: '[1]' }],
  ];
  for (const [data, told] of cases) {
    agent.script(
      {},
      {
        events: [
          { event: 'content', data: 1 },
          { event: 'error', data },
        ],
        done: false,
      },
    );
    client.send(to('a', 'x', { id: 1, stream: true }));
    const frames = await client.answer();
    t.strictSame(frames, [
      { type: 'content', id: 1, agent_id: 'a', data: 1 },
      { type: 'error', id: 1, agent_id: 'a', data: told },
    ]);
  }
});

/** What goes wrong between relay and agent, what a plain and a streamed send hear of it. */
const transport: [what: string, answer: Answer, plain: [number, RegExp], stream?: [number, RegExp]][] = [
  ['a proxy page', faults.html(502), [-41_003, /HTTP 502, text\/html/]],
  ['an empty answer', faults.empty(500), [-41_003, /HTTP 500, an empty answer/]],
  ['HTTP 204', faults.empty(204), [-41_003, /HTTP 204/]],
  ['JSON that is not ARC [F-129]', { status: 200, body: '{"ok":true}' }, [-41_003, /HTTP 200/]],
  ['another version of ARC [F-409]', { status: 200, body: '{"arc":"2.0","id":1,"result":{}}' }, [-45_001, /"2.0"/]],
  ['an envelope without anything', { status: 200, body: '{"arc":"1.0","id":1}' }, [-41_003, /neither/]],
  ['a reset', faults.reset(), [-41_003, /ECONNRESET|reset|closed/]],
  ['a cut [F-129] [F-131] [T-9]', faults.cut(60), [-41_003, /broke off/], [-43_104, /broke off/]],
  ['a truncated body', faults.truncated(60), [-41_003, /HTTP 200/], [-43_104, /without done/]],
  ['something else than HTTP', { raw: ['SSH-2.0-x\r\n\r\n'] }, [-41_003, /unreachable/]],
  ['a redirect to elsewhere', faults.redirect('http://127.0.0.2:1/'), [-41_003, /redirect/]],
  ['silence [F-116] [F-130] [T-9]', faults.hang(), [-41_006, /200 ms/]],
  ['a stalled stream [F-117] [F-131] [T-9]', faults.stall({ event: 'content', data: 1 }), [-43_104, /stalled/]],
  ['a stream that is cut [F-131] [T-9]', { events: [{ data: 1 }], done: false, finish: 'cut' }, [-43_104, /broke off/]],
  ['an event without end [F-134]', faults.endlessEvent(), [-45_004, /of more than 16777216 bytes/]],
];

for (const [what, answer, plain, stream = plain] of transport) {
  t.test(
    `${what} is an error frame of ${plain[0]}${stream === plain ? '' : ` or ${stream[0]}`}, of every kind of send`,
    async (t) => {
      // Only an agent that goes silent is waited for: the others must not run out of time on a slow machine.
      const isSilent = typeof answer === 'object' && 'finish' in answer && answer.finish === 'stall';
      const timeouts = isSilent ? { sendTimeout: 200, streamIdleTimeout: 200 } : {};
      const { agent, connect } = await world(t, { ...quick, ...timeouts, leaks: true });
      const client = await connect();
      for (const [agent_id, [code, message]] of [
        ['plain', plain],
        ['stream', stream],
      ] as const) {
        agent.script({ method: 'chat.start', agentId: agent_id }, answer);
        const frame = await client.ask(to(agent_id, 'x', { id: 1, stream: agent_id === 'stream' }));
        t.strictSame({ ...frame, data: dataOf(frame).code }, { type: 'error', id: 1, agent_id, data: code });
        t.match(dataOf(frame).message, message);
        t.notOk('details' in dataOf(frame));
      }
      t.strictSame(await client.rest(), []);
    },
  );
}

t.test('an answer that is too large is -45004 [F-134]', async (t) => {
  const { agent, connect } = await world(t, { ...quick, leaks: true });
  const client = await connect();
  agent.script('chat.start', faults.huge(17 * 1024 * 1024));
  t.match(await client.ask(to('a')), { type: 'error', data: { code: -45_004, message: /more than 16777216 bytes/ } });
});

t.test('an agent that refuses connections is -41003 [F-129]', async (t) => {
  const { connect } = await world(t, { endpoint: `http://127.0.0.1:${DEAD_PORT}/arc` });
  const client = await connect();
  const { data } = await client.ask(to('a'));
  t.strictSame(data, { code: -41_003, message: 'Agent "a" is unreachable: connection refused (ECONNREFUSED)' });
});

t.test('an agent whose host name is not known is -41003', async (t) => {
  const { connect } = await world(t, { endpoint: 'http://no.such.host.invalid/arc' });
  const client = await connect();
  t.match(await client.ask(to('a')), { type: 'error', data: { code: -41_003, message: /host name/ } });
});

t.test('an agent without an endpoint is -41001 [F-128]', async (t) => {
  for (const nothing of [null, undefined, '']) {
    const { connect } = await world(t, { endpoint: () => nothing });
    const client = await connect();
    const { data } = await client.ask(to('a', 'x', { id: 1 }));
    t.strictSame(data, { code: -41_001, message: 'No endpoint for agent "a"' });
  }
});

t.test('an agent that is not on the list is -44002 [F-132]', async (t) => {
  for (const agents of [['a'], new Set(['a']), (agentId: string) => agentId === 'a']) {
    const { agent, connect } = await world(t, { agents });
    const client = await connect();
    t.strictSame(await client.ask(to('b', 'x', { id: 1 })), {
      type: 'error',
      id: 1,
      agent_id: 'b',
      data: { code: -44_002, message: 'Agent "b" is not allowed' },
    });
    t.equal((await client.ask(to('a'))).type, 'response');
    t.equal(agent.requests.length, 1);
  }
});

t.test('one send more than maxPending is -44007, until one has ended [F-110] [F-133]', async (t) => {
  const { agent, connect } = await world(t, { maxPending: 3 });
  const client = await connect();
  const gate = agent.hold();
  for (const id of [1, 2, 3, 4]) client.send(to(id < 3 ? 'a' : 'b', 'x', { id }));
  t.match(await client.next(), { type: 'error', id: 4, agent_id: 'b', data: { code: -44_007, message: /3 sends/ } });
  gate.release();
  await client.all(3);
  t.match(await client.ask(to('a', 'x', { id: 5 })), { type: 'response', id: 5 });
});

t.test('one thread more than maxThreads is -44007, until one has ended [F-111] [F-133]', async (t) => {
  const { connect } = await world(t, { maxThreads: 2 });
  const client = await connect();
  await client.ask(to('a'));
  await client.ask(to('a', 'x', { context_id: 'c' }));
  t.match(await client.ask(to('b')), { type: 'error', data: { code: -44_007, message: /2 threads/ } });
  t.match(await client.ask(to('a')), { type: 'response' }, 'existing threads continue');
  await client.ask({ type: 'end', agent_id: 'a' });
  t.match(await client.ask(to('b')), { type: 'response' });
});

t.test('no frame says more than a client may know [F-127] [S-14] [S-15]', async (t) => {
  const secrets = ['s3cr3t', '127.0.0.1', 'http://', 'node_modules', '.ts:', '.js:', 'at ', 'file:'];
  const fail = (): never => {
    throw Object.assign(new Error('s3cr3t at /srv/app.js:1 http://127.0.0.1/arc'), {
      code: -41_003,
      details: 's3cr3t',
    });
  };
  const arc = (): never => {
    throw new ArcError(-50_010, 's3cr3t of http://127.0.0.1/arc', { details: { s3cr3t: 1 } });
  };
  const cases: [what: string, options: WorldOptions][] = [
    ['endpoint', { endpoint: fail }],
    ['endpoint with credentials', { endpoint: () => 'http://s3cr3t:s3cr3t@127.0.0.1/arc' }],
    ['no URL', { endpoint: () => 'not a url s3cr3t' }],
    ['token', { token: fail }],
    ['rejecting token', { token: async () => fail() }],
    ['token of the session', { sessionToken: fail }],
    ['route', { route: fail }],
    ['authorize', { authorize: fail }],
    ['rejecting authorize', { authorize: async () => fail() }],
    ['agents', { agents: fail }],
    ['an ArcError of authorize', { authorize: arc }],
    ['an ArcError of route', { route: arc }],
  ];
  for (const [what, options] of cases) {
    const { connect, log } = await world(t, { ...quick, ...options });
    const client = await connect();
    const frame = what.endsWith('route') ? { id: 1, message: to('a').message } : to('a', 'x', { id: 1 });
    client.send(frame as Json);
    const text = await client.text();
    t.match(JSON.parse(text), { type: 'error', id: 1, data: { code: -32_603, message: 'Internal error' } }, what);
    t.strictSame(
      secrets.filter((secret) => text.includes(secret)),
      [],
      what,
    );
    t.equal(log.at('error').length, 1, `${what}: the cause is in the log`);
    t.strictSame(await client.rest(), [], `${what}: the connection lives`);
  }
  for (const [, answer] of transport) {
    const { agent, connect } = await leaky(t, { token: 's3cr3t' });
    const client = await connect();
    agent.script('chat.start', answer);
    client.send(to('a', 'x'), to('b', 'x', { stream: true }));
    for (const frame of [...(await client.answer()), ...(await client.answer())]) {
      const text = JSON.stringify(frame);
      t.strictSame(
        secrets.filter((secret) => text.includes(secret)),
        [],
        text,
      );
    }
  }
});

const leaky = (t: Test, options: WorldOptions): Promise<World> =>
  world(t, { cleanupTimeout: 50, sendTimeout: 50, streamIdleTimeout: 50, leaks: true, ...options });

t.test('an agent that fails costs the others nothing [F-43]', async (t) => {
  const { agent, connect } = await world(t, { ...quick, leaks: true });
  const client = await connect();
  const other = await connect();
  agent.script({ agentId: 'bad' }, { ...faults.reset(20), times: Number.POSITIVE_INFINITY });
  for (const from of [client, other]) {
    from.send(
      to('bad', 'x', { id: 1 }),
      to('good', 'one two', { id: 2, stream: true }),
      to('bad', 'x', { id: 3, stream: true }),
    );
    const frames = [...(await from.answer()), ...(await from.answer()), ...(await from.answer())];
    t.equal(streamedText(frames.filter(({ id }) => id === 2)), 'good #1: one two');
    t.match(
      frames.filter(({ type }) => type === 'error').map(({ id }) => id),
      [1, 3],
    );
  }
});

t.test('details that are nested too deeply to be written are left out', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const details = '['.repeat(9000) + ']'.repeat(9000);
  const body = `{"arc":"1.0","id":"1","error":{"code":-43005,"message":"deep","details":${details}}}`;
  all.agent.script({}, { status: 200, body });
  t.match(await client.ask(to('a')), { type: 'error', data: { code: -43_005, message: 'deep', details: undefined } });
});
