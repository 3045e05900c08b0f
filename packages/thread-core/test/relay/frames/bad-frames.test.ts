import { once } from 'node:events';
import t from 'tap';
import { echoOf, readFrame } from '../../../src/relay/frames/frame-reader.js';
import { type Json, maskedText, say, textOf, to, world } from '../helpers.js';

/** Text that is not a frame, and what its error frame says. */
const NOT_FRAMES: [text: string, code: number, message: RegExp][] = [
  ['', -32_700, /not JSON/],
  ['hello', -32_700, /not JSON/],
  ['{"agent_id":"a"', -32_700, /not JSON/],
  ["{'agent_id':'a'}", -32_700, /not JSON/],
  ['{"n":NaN}', -32_700, /not JSON/],
  ['\ufeff{"type":"ping"}', -32_700, /not JSON/],
  ['null', -32_600, /must be a JSON object/],
  ['1', -32_600, /must be a JSON object/],
  ['"text"', -32_600, /must be a JSON object/],
  ['[]', -32_600, /must be a JSON object/],
  [`[${JSON.stringify(to('a'))}]`, -32_600, /must be a JSON object/],
];

const names: [value: unknown, problem: RegExp][] = [
  [true, /string/],
  [{}, /string/],
  [['a'], /string/],
  ['x'.repeat(257), /256/],
  ['😀'.repeat(257), /256/],
];
const ids: unknown[] = ['', 'x'.repeat(257), 1.5, 2 ** 53, -(2 ** 53), 1e300, true, {}, []];

/** Frames with one field that is wrong, and that field. */
const BAD_FIELDS: [field: string, frame: Json, problem: RegExp][] = [
  ...names.flatMap(([value, problem]): [string, Json, RegExp][] => [
    ['trace_id', to('a', 'x', { trace_id: value }), problem],
    ['trace_id', { type: 'end', agent_id: 'a', trace_id: value }, problem],
  ]),
  ...[...names, [1, /string/] as const, ['', /1 to 256/] as const].flatMap(
    ([value, problem]): [string, Json, RegExp][] => [
      ['agent_id', { ...to('a'), agent_id: value }, problem],
      ['context_id', to('a', 'x', { context_id: value }), problem],
      ['agent_id', { type: 'end', agent_id: value }, problem],
      ['context_id', { type: 'end', agent_id: 'a', context_id: value }, problem],
    ],
  ),
  ['agent_id', { type: 'end', agent_id: null }, /string/],
  ['id', { type: 'cancel', id: null }, /string of 1 to 256 characters or a safe integer/],
  ...ids.flatMap((id): [string, Json, RegExp][] => [
    ['id', to('a', 'x', { id }), /string of 1 to 256 characters or a safe integer/],
    ['id', { type: 'cancel', id }, /string of 1 to 256 characters or a safe integer/],
    ['id', { type: 'end', agent_id: 'a', id }, /string of 1 to 256 characters or a safe integer/],
    ['id', { type: 'ping', id }, /string of 1 to 256 characters or a safe integer/],
  ]),
  ...[1, 'text', null, true, [], [say('x')]].map((message): [string, Json, RegExp] => [
    'message',
    { agent_id: 'a', message },
    /object/,
  ]),
  ...[1, null, {}, [], false].map((role): [string, Json, RegExp] => [
    'message.role',
    { agent_id: 'a', message: { role, parts: [] } },
    /string/,
  ]),
  ...[1, null, {}, 'text', true].map((parts): [string, Json, RegExp] => [
    'message.parts',
    { agent_id: 'a', message: { role: 'user', parts } },
    /array/,
  ]),
  ...[1, 0, 'true', {}].map((stream): [string, Json, RegExp] => ['stream', to('a', 'x', { stream }), /boolean/]),
  ...[1, 'text', [], true].map((metadata): [string, Json, RegExp] => [
    'metadata',
    to('a', 'x', { metadata }),
    /object/,
  ]),
  ...[1, {}, []].map((reason): [string, Json, RegExp] => ['reason', { type: 'end', agent_id: 'a', reason }, /string/]),
  ['agent_id', { message: say('x') }, /missing/],
  ['agent_id', { type: 'end' }, /missing/],
  ['message', { agent_id: 'a' }, /missing/],
  ['message', {}, /missing/],
  ['message', { type: 'message', agent_id: 'a' }, /missing/],
  ['message.role', { agent_id: 'a', message: { parts: [] } }, /missing/],
  ['message.parts', { agent_id: 'a', message: { role: 'user' } }, /missing/],
  ['id', { type: 'cancel' }, /missing/],
  ...['pong', 'response', '', 'Message', 'constructor', '__proto__', 'toString', 1, true, {}, []].map(
    (type): [string, Json, RegExp] => ['type', { ...to('a'), type }, /message, cancel, end, ping/],
  ),
  ['type', { ...to('a'), type: ['message'] }, /message, cancel, end, ping/],
  ['type', { ...to('a'), type: { toString: 1, valueOf: 1 } }, /message, cancel, end, ping/],
];

t.test('what is not a JSON object costs an error frame only [F-4] [F-38] [F-42] [F-125]', async (t) => {
  const { connect, agent } = await world(t, { maxBadFrames: 100 });
  const client = await connect();
  for (const [text, code, message] of NOT_FRAMES) {
    const { type, data, ...rest } = await client.ask(text);
    t.match({ type, data }, { type: 'error', data: { code, message } }, text);
    t.strictSame(rest, {}, 'nothing to repeat');
  }
  t.equal(agent.counters.requests, 0);
  t.equal(textOf(await client.ask(to('a'))), 'a #1: hello');
});

t.test('a wrong field is -32600, and named [F-8] [F-59] [F-60] [F-61] [F-62] [F-63] [F-126]', async (t) => {
  const { connect, agent } = await world(t, { maxBadFrames: 1000 });
  const client = await connect();
  for (const [field, frame, problem] of BAD_FIELDS) {
    const { data, type } = await client.ask(frame);
    const { code, message, ...more } = data as { code: number; message: string };
    const what = JSON.stringify(frame).slice(0, 90);
    t.strictSame([type, code, more], ['error', -32_600, {}], what);
    t.ok(message.startsWith(`${field}: `), `${what}: ${message}`);
    t.match(message.slice(field.length), problem, what);
  }
  t.strictSame(await client.rest(), []);
  t.equal(agent.counters.requests, 0);
});

/** Text with half of a surrogate pair, as `JSON.stringify` and Python's `json.dumps` write it. */
const HALVES = [
  '\\ud800',
  '\\uDBFF tail',
  'head \\udc00',
  '\\ude00\\ud83d',
  '\\ud83d\\ud83d\\ude00',
  '\\ud83d\\\\ude00',
];

t.test('half of a surrogate pair is -32600, wherever it stands, and the field is named [F-362]', async (t) => {
  const { connect, agent } = await world(t, { maxBadFrames: 1000 });
  const client = await connect();
  for (const half of HALVES) {
    const text = `"${half}"`;
    const message = '"message":{"role":"user","parts":[]}';
    const cases: [field: string, frame: string][] = [
      ['id', `{"id":${text},"agent_id":"a",${message}}`],
      ['agent_id', `{"agent_id":${text},${message}}`],
      ['context_id', `{"agent_id":"a","context_id":${text},${message}}`],
      ['trace_id', `{"agent_id":"a","trace_id":${text},${message}}`],
      ['message', `{"agent_id":"a","message":{"role":${text},"parts":[]}}`],
      ['message', `{"agent_id":"a","message":{"role":"user","parts":[{"type":"text","content":${text}}]}}`],
      ['message', `{"agent_id":"a","message":{"role":"user","parts":[],${text}:1}}`],
      ['message', `{"agent_id":"a","message":{"role":"user","parts":[[{"a":[{${text}:null}]}]]}}`],
      ['metadata', `{"agent_id":"a",${message},"metadata":{"a":${text}}}`],
      ['metadata', `{"agent_id":"a",${message},"metadata":{"a":{${text}:1}}}`],
      ['id', `{"type":"cancel","id":${text}}`],
      ['id', `{"type":"ping","id":${text}}`],
      ['agent_id', `{"type":"end","agent_id":${text}}`],
      ['reason', `{"type":"end","agent_id":"a","reason":${text}}`],
    ];
    for (const [field, frame] of cases) {
      const { type, data, ...echo } = await client.ask(frame);
      t.match(
        { type, data },
        { type: 'error', data: { code: -32_600, message: `${field}: must be well-formed` } },
        frame,
      );
      t.notOk(field in echo, 'and such text is not repeated');
    }
  }
  t.strictSame(await client.rest(), []);
  t.equal(agent.counters.requests, 0, 'no agent sees any of it');
});

t.test('surrogate pairs, escaped backslashes and ignored fields are well-formed [F-9] [F-362]', async (t) => {
  const { connect, agent } = await world(t);
  const client = await connect();
  const good = [
    '\\ud83d\\ude00',
    'x \\uD83D\\uDE00\\ud83d\\ude00',
    '\\\\ud800',
    '\\\\\\\\udc00',
    '\\ud7ff\\ue000',
    '\\ufffd',
  ];
  for (const text of good) {
    const message = `{"role":"user","parts":[{"type":"text","content":"${text}","${text}":1}]}`;
    const frame = `{"agent_id":"a","id":"${text}","message":${message},"metadata":{"${text}":"${text}"}}`;
    t.match(await client.ask(frame), { type: 'response', id: JSON.parse(`"${text}"`) }, frame);
    t.strictSame(
      agent.requests.at(-1)?.params[agent.requests.length === 1 ? 'initialMessage' : 'message'],
      JSON.parse(message),
    );
  }
  t.match(await client.ask('{"agent_id":"a","message":{"role":"user","parts":[]},"mine":"\\ud800"}'), {
    type: 'response',
  });
});

t.test('the longest names are let through [F-8] [F-60] [F-61] [F-62]', async (t) => {
  const { connect } = await world(t);
  const client = await connect();
  for (const name of ['x'.repeat(256), '😀'.repeat(256), ' ']) {
    const frame = { agent_id: name, context_id: name, trace_id: name, id: name };
    t.match(await client.ask({ ...frame, message: { role: '', parts: [] } }), { type: 'response', ...frame });
  }
});

t.test('an error frame repeats the valid fields of an invalid frame [F-42] [F-66]', async (t) => {
  const { connect } = await world(t);
  const client = await connect();
  const echo = { id: 'i', agent_id: 'a', context_id: 'c', trace_id: 't' };
  for (const frame of [
    { ...echo },
    { ...echo, message: 1 },
    { ...echo, type: 'nothing' },
    { ...echo, type: 'end', reason: 1 },
  ]) {
    const { type, data, ...rest } = await client.ask(frame);
    t.strictSame([type, rest], ['error', echo]);
  }
  const { type, data, ...rest } = await client.ask({ id: {}, agent_id: '', context_id: 1, trace_id: 't' });
  t.strictSame([type, rest], ['error', { trace_id: 't' }], 'but nothing that is wrong itself');
});

t.test('too many bad frames in a row close the connection with 4429 [F-38] [F-113] [F-146]', async (t) => {
  const { connect, session } = await connected(t);
  const client = await connect();
  for (let i = 0; i < 15; i++) client.send('x');
  t.strictSame((await client.rest()).length, 15);
  for (let i = 0; i < 15; i++) client.send('x');
  t.strictSame((await client.rest()).length, 15, 'a good frame begins the count again');
  for (let i = 0; i < 20; i++) client.send('x');
  t.match(await client.closed, { code: 4429, reason: /bad/i });
  t.equal(client.texts.length, 16, 'and each of them got its error frame');
  await session().closed;
});

t.test('refused sends count as bad frames, answered ones and cancels do not [F-38] [F-119]', async (t) => {
  const { connect } = await world(t, { maxBadFrames: 3, agents: ['a'] });
  const client = await connect();
  for (let i = 0; i < 4; i++) {
    t.match(await client.ask(to('b')), { type: 'error', data: { code: -44_002 } });
    t.match(await client.ask(to('b')), { type: 'error', data: { code: -44_002 } });
    if (i === 0) t.match(await client.ask(to('a')), { type: 'response' });
    if (i === 1) client.send({ type: 'cancel', id: 'none' });
    if (i === 2) t.match(await client.ask({ type: 'end', agent_id: 'z' }), { type: 'ended' });
  }
  client.send(to('b'));
  t.match(await client.next(), { type: 'error', data: { code: -44_002 } });
  t.equal((await client.closed).code, 4429);
});

t.test('a binary frame closes the connection with 1003 [F-53] [F-138] [S-5]', async (t) => {
  const { agent, connect, session } = await connected(t);
  const client = await connect();
  await client.ask(to('a'));
  client.socket.send(Buffer.from(JSON.stringify(to('a'))));
  t.match(await client.closed, { code: 1003, reason: /text/ });
  await session().closed;
  t.equal(agent.counters.open, 0, 'and its chats are ended');
  t.equal(agent.counters.requests, 2, 'nothing was sent of it');
});

t.test('a frame of maxFrameBytes is let through, one byte more is 1009 [F-5] [F-54] [F-109] [F-140]', async (t) => {
  // The second server knows nothing of the limit: the relay sees to it alone.
  for (const server of [undefined, { maxPayload: 1024 * 1024 }]) {
    const { connect } = await world(t, { maxFrameBytes: 1000, ...(server && { server }) });
    const client = await connect();
    // 'é' has two bytes: it is bytes that count.
    const rest = 1000 - Buffer.byteLength(JSON.stringify(to('a', 'éé')));
    const fitting = JSON.stringify(to('a', `éé${'x'.repeat(rest)}`));
    t.equal(Buffer.byteLength(fitting), 1000);
    t.match(await client.ask(fitting), { type: 'response' });
    client.send(fitting.replace('éé', 'ééx'));
    t.equal((await client.closed).code, 1009);
  }
});

t.test('text that is not UTF-8 closes the connection with 1007, and the process lives [F-55] [F-139]', async (t) => {
  const { connectRaw, connect, session, log } = await connected(t);
  const raw = await connectRaw();
  const bad = maskedText('xx');
  bad.set([0xc3, 0x28], 6);
  raw.write(bad);
  const [closing] = (await once(raw, 'data')) as [Buffer];
  t.strictSame([...closing.subarray(0, 4)], [0x88, 2, 1007 >> 8, 1007 & 0xff]);
  raw.end();
  await session().closed;
  t.match(log.at('warn'), [{ about: { err: { code: 'WS_ERR_INVALID_UTF8' } }, message: 'a connection failed' }]);
  t.equal((await (await connect()).ask(to('a'))).type, 'response');
});

t.test('a frame that breaks the WebSocket protocol costs its connection alone [S-2]', async (t) => {
  const { connectRaw, connect, session, log } = await connected(t);
  const other = await connect();
  const raw = await connectRaw();
  raw.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
  raw.end();
  await session(1).closed;
  t.equal(log.at('warn').length, 1, 'one line');
  t.equal((await other.ask(to('a'))).type, 'response');
});

t.test(
  'a frame of more than 10,000 levels is not parsed, wherever they are, and the connection lives [F-526]',
  async (t) => {
    const { connect } = await world(t);
    const client = await connect();
    const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const deep = nested(200_000);
    const frames = [
      `{"agent_id":"a","id":1,"message":{"role":"user","parts":${deep}}}`,
      `{"type":"ping","id":1,"x":${deep}}`,
      `{"type":"ping","id":1,"x":${nested(10_000)}}`,
      '['.repeat(200_000),
      '{"":'.repeat(200_000),
    ];
    for (const frame of frames) {
      client.send(frame);
      const { type, data, ...echo } = await client.next();
      const message = 'The frame is nested more than 10,000 levels deep';
      t.match({ type, data }, { type: 'error', data: { code: -32_600, message } }, frame.slice(0, 60));
      t.strictSame(echo, {}, 'nothing of it is repeated');
    }
    t.match(await client.ask(`{"type":"ping","id":2,"x":${nested(9999)}}`), { type: 'pong', id: 2 });
    t.match(await client.ask(`{"type":"ping","id":3,"x":"${'['.repeat(200_000)}"}`), { type: 'pong', id: 3 });
    t.equal((await client.ask(to('a'))).type, 'response');
  },
);

t.test('of the fields of a frame only those are looked at that frames have [F-527]', (t) => {
  const names = (): never => t.fail('its fields are listed') as never;
  const frame = { id: null, agent_id: 'a', trace_id: 7, mine: 1 };
  t.strictSame(echoOf(new Proxy(frame, { ownKeys: names })), { agent_id: 'a', trace_id: '7' });
  const text = JSON.stringify({ ...to('a'), id: null, stream: null, trace_id: 7, mine: null });
  t.strictSame(readFrame(text, 64), { ...to('a'), trace_id: '7', mine: null }, 'all others stay as they are');
  t.end();
});

t.test('"__proto__" in a frame is data like any other', async (t) => {
  const { connect, agent } = await world(t);
  const client = await connect();
  t.match(await client.ask('{"__proto__":{"agent_id":"a","message":{"role":"user","parts":[]}}}'), { type: 'error' });
  client.send('{"agent_id":"a","message":{"role":"user","parts":[],"__proto__":{"x":1}}}');
  await client.answer();
  t.match(agent.requests[0]?.body, /"__proto__":\{"x":1\}/);
});

async function connected(...args: Parameters<typeof world>) {
  const all = await world(...args);
  const { agent, connect, connectRaw, log } = all;
  return { agent, connect, connectRaw, log, session: (index = 0) => all.sessions[index] as typeof all.session };
}
