// The options of a client and of its calls.
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { Agent, MockAgent, Pool } from 'undici';
import { ArcClient, type ArcClientOptions } from '../../src/client/arc-client.js';
import { AgentNotFoundError, ArcError, InvalidRequestError } from '../../src/protocol/errors.js';
import {
  answer,
  chunk,
  connect,
  cutStream,
  DONE,
  drain,
  envelope,
  event,
  failure,
  HELLO,
  heard,
  type Json,
  LAST_CHUNK,
  pair,
  piece,
  RESULT,
  reasonOf,
  refusal,
  START,
  STREAM,
  STREAM_HEAD,
  serve,
  stream,
  writeApart,
} from './support.js';

const END = { targetAgent: 'support', chatId: 'c1' };

t.test('an endpoint is a string, a URL, or a function from agent to either', async (t) => {
  const [one, two] = [await serve(t, answer()), await serve(t, answer())];
  const endpoints: ArcClientOptions['endpoint'][] = [
    `${one.url}/a?b=c`,
    new URL(`${one.url}/a?b=c`),
    () => `${one.url}/a?b=c`,
    () => new URL(`${one.url}/a?b=c`),
  ];
  for (const endpoint of endpoints) await connect(t, one, { endpoint }).chat.start(START);
  t.same(
    one.requests.map(({ path }) => path),
    Array(4).fill('/a?b=c'),
  );
  const client = connect(t, one, { endpoint: (agentId) => (agentId === 'two' ? two.url : `${one.url}/${agentId}`) });
  await client.chat.start({ ...START, targetAgent: 'two' });
  await client.chat.start({ ...START, targetAgent: 'x' });
  t.same([one.requests.at(-1)?.path, two.requests.length], ['/x', 1]);
});

t.test('an agent that the endpoint function does not know is not found', async (t) => {
  for (const nothing of [null, undefined, '']) {
    const client = connect(t, { url: '' }, { endpoint: () => nothing as string });
    const error = await failure(client.chat.start({ ...START, traceId: 'tr' }));
    t.ok(error instanceof AgentNotFoundError);
    t.match(error, {
      code: -41001,
      reason: 'No endpoint for agent "support"',
      agentId: 'support',
      method: 'chat.start',
      traceId: 'tr',
      fromAgent: false,
    });
  }
});

t.test('a call rejects with the error that its endpoint function throws', async (t) => {
  const mine = new Error('mine');
  const client = connect(
    t,
    { url: '' },
    {
      endpoint: () => {
        throw mine;
      },
    },
  );
  t.equal(await reasonOf(client.chat.start(START)), mine);
  t.equal(await reasonOf(client.chat.start(STREAM)), mine);
});

t.test('an endpoint function that gives no http(s) URL fails the call', async (t) => {
  for (const url of ['nonsense', 'ftp://127.0.0.1', 'http://user:pass@127.0.0.1/']) {
    const reason = await reasonOf(connect(t, { url: '' }, { endpoint: () => url }).chat.start(START));
    t.match(reason, { name: 'TypeError', message: /^endpoint: / });
    t.notMatch(reason, /pass@/);
  }
});

t.test('an endpoint function may give more URLs than are remembered', async (t) => {
  const peer = await serve(t, answer());
  let n = 0;
  const client = connect(t, peer, { endpoint: () => `${peer.url}/${++n}` });
  for (let i = 0; i < 1100; i++) {
    const controller = new AbortController();
    const call = client.chat.start({ ...START, signal: controller.signal });
    controller.abort();
    await call.catch(() => {});
  }
  await client.chat.start(START);
  t.equal(peer.requests.at(-1)?.path, '/1101');
});

t.test('requestAgent and headers go with every request', async (t) => {
  const { peer, client } = await pair(t, answer(), {
    requestAgent: 'me',
    headers: { 'X-Tenant': 'a b', 'x-empty': '' },
  });
  await client.chat.start(START);
  await client.task.info({ targetAgent: 'support', taskId: 't1' });
  for (const request of peer.requests) {
    t.equal(request.json.requestAgent, 'me');
    t.match(request.headers, { 'x-tenant': 'a b', 'x-empty': '' });
  }
});

t.test('a wrong option is a TypeError that names it', async (t) => {
  const wrong: [string, unknown][] = [
    ['endpoint', undefined],
    ['endpoint', null],
    ['endpoint', ''],
    ['endpoint', '/arc'],
    ['endpoint', 'ws://127.0.0.1'],
    ['endpoint', 7],
    ['endpoint', 'http://user:pass@127.0.0.1'],
    ['token', 5],
    ['token', null],
    ['token', ''],
    ['token', 'a\r\nb'],
    ['token', 'tökén☃'],
    ['requestAgent', ''],
    ['requestAgent', 5],
    ['dispatcher', {}],
    ['dispatcher', null],
    ['logger', null],
    ['logger', 'console'],
    ['logger', {}],
    ...[true, null, 5, [], { failures: 0 }, { failures: '5' }, { pause: 0 }, { pause: Number.NaN }].map(
      (value): [string, unknown] => ['breaker', value],
    ),
    ['headers', null],
    ['headers', 'x: y'],
    ['headers', { x: 5 }],
    ['headers', { x: undefined }],
    ['headers', { x: 'a\nb' }],
    ['headers', { 'x y': 'z' }],
  ];
  for (const name of [
    'timeout',
    'streamIdleTimeout',
    'streamTimeout',
    'retries',
    'connections',
    'maxResponseBytes',
    'maxEventBytes',
  ]) {
    for (const value of [-1, Number.NaN, '5', {}]) wrong.push([name, value]);
  }
  for (const name of ['connections', 'maxResponseBytes', 'maxEventBytes']) wrong.push([name, 0]);
  for (const [name, value] of wrong) {
    const options = { endpoint: 'http://127.0.0.1/', [name]: value } as ArcClientOptions;
    t.throws(
      () => new ArcClient(options),
      { name: 'TypeError', message: new RegExp(`^${name}: `) },
      `${name}: ${JSON.stringify(value)}`,
    );
  }
  t.doesNotThrow(
    () =>
      new ArcClient({
        endpoint: 'https://127.0.0.1/',
        timeout: 0,
        streamIdleTimeout: 0,
        streamTimeout: 0,
        connections: Number.POSITIVE_INFINITY,
      }),
  );
});

t.test('a wrong option of a call rejects with a TypeError that names it', async (t) => {
  const { peer, client } = await pair(t, answer());
  for (const wrong of [
    { targetAgent: '' },
    { targetAgent: undefined },
    { timeout: -1 },
    { streamIdleTimeout: -1 },
    { streamTimeout: '1' },
    { retries: Number.NaN },
    { timeout: Number.NaN },
    { timeout: '5' },
  ]) {
    const [name = ''] = Object.keys(wrong);
    t.match(await reasonOf(client.chat.start({ ...START, ...wrong } as never)), {
      name: 'TypeError',
      message: new RegExp(`^${name}: `),
    });
  }
  t.equal(peer.connections, 0);
});

t.test('connections bounds how many there are to an origin', async (t) => {
  const { peer, client } = await pair(t, (socket) => void turn().then(() => socket.write(answer())), {
    connections: 3,
  });
  await Promise.all(Array.from({ length: 30 }, () => client.chat.start(START)));
  t.equal(peer.requests.length, 30);
  t.equal(peer.connections, 3);
});

t.test('a dispatcher of the user is used, and not closed with the client', async (t) => {
  const dispatcher = new Agent({ connections: 1 });
  t.teardown(() => dispatcher.close());
  const peer = await serve(t, answer());
  const one = connect(t, peer, { dispatcher });
  await one.chat.start(START);
  await one.close();
  t.match(
    await failure(one.chat.start(START)),
    { code: -41003, reason: 'The client was closed' },
    'though the dispatcher would still do it',
  );
  t.equal(dispatcher.closed, false);
  t.equal(peer.open, 1);
  const other = connect(t, peer, { dispatcher });
  await other.chat.start(START);
  t.equal(peer.connections, 1, 'its connections stay open, too');
});

t.test("closing a client with the application's dispatcher aborts running calls", async (t) => {
  const dispatcher = new Agent();
  t.teardown(() => dispatcher.close());
  const { peer, client } = await pair(t, () => {}, { dispatcher });
  const call = failure(client.chat.start(START));
  await peer.until(() => peer.requests.length === 1);
  await client.close();
  t.match(await call, { reason: 'The client was closed' });
  await peer.until(() => peer.open === 0);
});

t.test('a dispatcher that is closed says so', async (t) => {
  const dispatcher = new Pool('http://127.0.0.1:1');
  await dispatcher.close();
  const client = connect(t, { url: 'http://127.0.0.1:1' }, { dispatcher });
  t.match(await failure(client.chat.start(START)), {
    code: -41003,
    reason: /the client is closed \(UND_ERR_DESTROYED\)/,
  });
});

t.test('a dispatcher that throws fails the call', async (t) => {
  const thrown = new Error('no');
  const dispatcher = Object.assign(new Agent(), {
    dispatch: () => {
      throw thrown;
    },
  });
  for (const token of ['abc', () => 'abc']) {
    const client = connect(t, { url: 'http://127.0.0.1:1' }, { dispatcher, token });
    const error = await failure(client.chat.start(START));
    t.match(error, { code: -41003, reason: 'Agent "support" is unreachable: the connection failed' });
    t.equal(error.cause, thrown);
  }
});

t.test('a dispatcher that answers at once is understood', async (t) => {
  const dispatcher = new MockAgent();
  dispatcher.disableNetConnect();
  t.teardown(() => dispatcher.close());
  const mock = dispatcher.get('http://agents.invalid');
  const client = connect(t, { url: 'http://agents.invalid' }, { dispatcher });
  const reply = (data: object | string, type: string): void => {
    mock.intercept({ path: '/arc', method: 'POST' }).reply(200, data, { headers: { 'content-type': type } });
  };
  reply(envelope({ result: RESULT }), 'application/json');
  t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
  reply(event('stream', piece('a')) + DONE, 'text/event-stream');
  const { signal } = new AbortController();
  const asked = await client.chat.start({ ...STREAM, signal });
  t.equal((await drain(asked)).events.length, 2);
  t.equal(asked.chatId, 'c1');
  reply(envelope({ result: RESULT }), 'application/json');
  t.same((await client.chat.start(STREAM)).response?.result, RESULT);
});

t.test('a header that no request may have fails the call, without the token', async (t) => {
  const { client } = await pair(t, answer(), { token: 'secret', headers: { 'transfer-encoding': 'chunked' } });
  const error = await failure(client.chat.start(START));
  t.match(error, { code: -41003, reason: /a header cannot be sent \(UND_ERR_INVALID_ARG\)/ });
  t.notMatch(String(error.stack), /secret/);
});

t.test('a signal that is aborted before a call rejects it with its reason, and nothing is sent', async (t) => {
  const { peer, client } = await pair(t, answer());
  for (const reason of [new Error('mine'), 'text', undefined]) {
    const signal = AbortSignal.abort(reason);
    for (const ask of [START, STREAM]) t.equal(await reasonOf(client.chat.start({ ...ask, signal })), signal.reason);
  }
  t.equal(peer.connections, 0);
});

/** A signal, and how many listen to it. */
function listened(): { controller: AbortController; listeners: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  const heard = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (type: string, listener: never, options?: object) => {
    heard.add(listener);
    addEventListener.call(signal, type, listener, options);
  };
  signal.removeEventListener = (type: string, listener: never) => {
    heard.delete(listener);
    removeEventListener.call(signal, type, listener);
  };
  return { controller, listeners: () => heard.size };
}

t.test('a signal that is aborted during a call rejects it with its reason, and closes its connection', async (t) => {
  const reason = new Error('mine');
  const stalls = [
    '',
    'HTTP/1.1 200 OK\r\n',
    answer().subarray(0, -1),
    STREAM_HEAD,
    STREAM_HEAD + chunk('event: stream\n'),
  ];
  for (const bytes of stalls) {
    const { controller, listeners } = listened();
    const { peer, client } = await pair(t, bytes);
    const call = reasonOf(client.chat.start({ ...STREAM, signal: controller.signal }));
    await peer.until(() => peer.requests.length === 1);
    t.equal(listeners(), 1);
    controller.abort(reason);
    t.equal(await call, reason);
    t.equal(listeners(), 0);
    await peer.until(() => peer.open === 0);
  }
});

t.test('a signal that is aborted in a stream ends it with its reason, and closes its connection', async (t) => {
  const { controller, listeners } = listened();
  const { peer, client } = await pair(t, (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))));
  const asked = await client.chat.start({ ...STREAM, signal: controller.signal });
  t.equal((await asked.next()).done, false);
  const next = reasonOf(asked.next());
  controller.abort();
  t.equal(await next, controller.signal.reason);
  t.match(await next, { name: 'AbortError' });
  t.same(await asked.next(), { value: undefined, done: true });
  t.equal(listeners(), 0);
  await peer.until(() => peer.open === 0);
});

t.test('a signal that is aborted while a call waits for its token or a connection rejects it', async (t) => {
  const { peer, client } = await pair(t, () => {}, { connections: 1 });
  void client.chat.start(START).catch(() => {});
  await peer.until(() => peer.requests.length === 1);
  for (const waiting of [client, connect(t, peer, { token: () => new Promise<string>(() => {}) })]) {
    const { controller, listeners } = listened();
    const call = reasonOf(waiting.chat.start({ ...START, signal: controller.signal }));
    await turn();
    controller.abort('enough');
    t.equal(await call, 'enough');
    t.equal(listeners(), 0);
  }
  t.equal(peer.requests.length, 1);
});

t.test('what is aborted while it waits for a connection is never sent', async (t) => {
  const { peer, client } = await pair(t, [(socket) => void turn().then(() => socket.write(answer())), answer()], {
    connections: 1,
  });
  const first = client.chat.start(START);
  const controller = new AbortController();
  const second = reasonOf(client.chat.start({ ...START, traceId: 'second', signal: controller.signal }));
  const third = client.chat.start({ ...START, traceId: 'third' });
  controller.abort();
  await Promise.all([first, second, third]);
  t.same(
    peer.requests.map(({ json }) => json.traceId),
    [undefined, 'third'],
  );
  t.equal(peer.connections, 1, 'and its connection goes to the next');
});

t.test('a signal that is aborted after a call changes nothing', async (t) => {
  const { controller, listeners } = listened();
  const { signal } = controller;
  const replies = [
    answer(),
    refusal({ code: -43001 }),
    stream(event('stream', piece('a')) + DONE),
    stream(DONE),
    stream(event('error', 'x')),
    cutStream(event('stream', piece('a'))),
  ];
  const { peer, client } = await pair(t, replies);
  await client.chat.start({ ...START, signal });
  await failure(client.chat.start({ ...START, signal }));
  const open = await client.chat.start({ ...STREAM, signal });
  await client.chat.start({ ...START, signal });
  await failure(client.chat.start({ ...START, signal }));
  const broken = await client.chat.start({ ...STREAM, signal });
  t.match((await drain(broken)).error, { code: -43104 });
  t.equal(listeners(), 0);
  controller.abort();
  t.equal((await drain(open)).events.length, 2, 'what has come can still be read');
  t.ok(peer.open > 0);
});

t.test('leaving a stream early leaves no listener on its signal', async (t) => {
  for (const leave of ['cancel', 'return'] as const) {
    const { controller, listeners } = listened();
    const { peer, client } = await pair(t, (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))));
    const asked = await client.chat.start({ ...STREAM, signal: controller.signal });
    t.equal(listeners(), 1);
    await asked[leave]();
    t.equal(listeners(), 0, leave);
    await peer.until(() => peer.open === 0);
  }
});

t.test('many calls may share a signal', async (t) => {
  const warnings: Error[] = [];
  const listen = (warning: Error): unknown => warnings.push(warning);
  process.on('warning', listen);
  t.teardown(() => process.off('warning', listen));
  const { client, peer } = await pair(t, () => {});
  const controller = new AbortController();
  const calls = Array.from({ length: 40 }, () => reasonOf(client.chat.start({ ...START, signal: controller.signal })));
  await peer.until(() => peer.requests.length === 40);
  controller.abort('all');
  t.same(await Promise.all(calls), Array(40).fill('all'));
  await peer.until(() => peer.open === 0);
  await turn();
  t.same(warnings, []);
});

t.test('a call’s time-out goes before its client’s', async (t) => {
  const { client } = await pair(t, () => {}, { timeout: 60_000 });
  t.match(await failure(client.chat.start({ ...START, timeout: 20 })), { code: -41006, reason: /within 20 ms$/ });
  t.match(await failure(client.chat.end({ ...END, timeout: 21 })), {
    code: -41006,
    reason: /within 21 ms$/,
    method: 'chat.end',
  });
});

t.test('parameters that JSON cannot hold are an invalid request, and nothing is sent', async (t) => {
  const { peer, client } = await pair(t, answer());
  let deep: unknown[] = [];
  for (let i = 0; i < 200_000; i++) deep = [deep];
  const circular: Json = {};
  circular.self = circular;
  for (const content of [deep, 10n, circular]) {
    for (const ask of [START, STREAM]) {
      const error = await failure(
        client.chat.start({
          ...ask,
          initialMessage: { role: 'user', parts: [{ type: 'data', content }] },
          traceId: 'tr',
        }),
      );
      t.ok(error instanceof InvalidRequestError);
      t.match(error, {
        code: -32600,
        reason: 'chat.start cannot be written as JSON',
        agentId: 'support',
        method: 'chat.start',
        traceId: 'tr',
        fromAgent: false,
      });
      t.ok(error.cause instanceof Error);
    }
  }
  t.equal(peer.connections, 0);
  await client.chat.start(START);
});

t.test('what is changed after a call was made is not sent', async (t) => {
  const { peer, client } = await pair(t, answer());
  const message = structuredClone(HELLO);
  const call = client.chat.start({ ...START, initialMessage: message });
  message.parts = [];
  await call;
  t.same(peer.requests[0]?.json.params, { initialMessage: HELLO });
});

t.test('every task method sends its method and parameters, and gives the result', async (t) => {
  const task = { type: 'task', task: { taskId: 't1', status: 'SUBMITTED' } };
  const { peer, client } = await pair(t, [
    answer(task),
    answer({ success: true, message: 'ok' }),
    answer(task),
    answer(task),
    answer({ type: 'task', subscription: { id: 's1' } }),
  ]);
  const of = { targetAgent: 'worker', taskId: 't1', traceId: 'tr' };
  const results = [
    await client.task.create({ targetAgent: 'worker', initialMessage: HELLO, priority: 'HIGH', metadata: { k: 1 } }),
    await client.task.send({ ...of, message: HELLO }),
    await client.task.info({ ...of, includeMessages: true, includeArtifacts: false }),
    await client.task.cancel({ ...of, reason: 'no more' }),
    await client.task.subscribe({ ...of, callbackUrl: 'https://me/cb', events: ['TASK_COMPLETED'] }),
  ];
  t.same(
    results.map(({ result }) => result),
    [task, { success: true, message: 'ok' }, task, task, { type: 'task', subscription: { id: 's1' } }],
  );
  t.same(
    peer.requests.map(({ json }) => [json.method, json.targetAgent, json.traceId, json.params]),
    [
      ['task.create', 'worker', undefined, { initialMessage: HELLO, priority: 'HIGH', metadata: { k: 1 } }],
      ['task.send', 'worker', 'tr', { taskId: 't1', message: HELLO }],
      ['task.info', 'worker', 'tr', { taskId: 't1', includeMessages: true, includeArtifacts: false }],
      ['task.cancel', 'worker', 'tr', { taskId: 't1', reason: 'no more' }],
      ['task.subscribe', 'worker', 'tr', { taskId: 't1', callbackUrl: 'https://me/cb', events: ['TASK_COMPLETED'] }],
    ],
  );
  const refused = await pair(t, refusal({ code: -42001, message: 'gone' }, 404));
  t.match(await failure(refused.client.task.info(of)), {
    code: -42001,
    name: 'TaskNotFoundError',
    method: 'task.info',
    agentId: 'worker',
  });
});

t.test('a listener gets the text of an answer as it was sent, without its byte order mark', async (t) => {
  const text = '{"arc":"1.0","id":"r",  "result":{"n":12345678901234567890}}';
  const { client } = await pair(t, `HTTP/1.1 200 OK\r\ncontent-length: ${text.length + 3}\r\n\r\n\ufeff${text}`);
  t.equal(await heard(client).ended, text);
});

t.test('no time-out runs while a call is paused, whenever it was [F-121]', async (t) => {
  const { peer, client } = await pair(t, [
    (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))),
    (socket) => socket.write(answer().subarray(0, -1)),
  ]);
  const options = { timeout: 20, streamIdleTimeout: 20 };
  const [streaming, single] = [heard(client, options), heard(client, options)];
  // Paused before the first byte: what begins meanwhile starts no time-out.
  streaming.call.pause();
  single.call.pause();
  streaming.call.pause();
  await peer.until(() => peer.requests.length === 2);
  // Another call's time-out shows that time has passed.
  await heard(client, { timeout: 80 }).ended;
  let settled = false;
  void Promise.race([streaming.ended, single.ended]).then(() => (settled = true));
  await turn();
  t.equal(settled, false);
  streaming.call.resume();
  single.call.resume();
  t.match(await streaming.ended, { code: -43104, reason: /stalled/ });
  t.match(await single.ended, { code: -41006 });
});

t.test('a call that is paused when it is redirected or refused continues when it is resumed', async (t) => {
  for (const first of [
    'HTTP/1.1 307 Moved\r\nlocation: /x\r\ncontent-length: 5\r\n\r\nmoved',
    'HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno',
  ]) {
    const { client } = await pair(t, [first, stream(DONE)], { token: () => 'abc' });
    const { call, ended } = heard(client);
    call.pause();
    await turn();
    call.resume();
    t.equal(await ended, 'done');
  }
});

t.test('one call can be resumed from a callback of another', async (t) => {
  const peer = await serve(t, (socket, { json }) => {
    const first = STREAM_HEAD + chunk(event('stream', piece('a')));
    if (json.traceId === 'paused')
      void writeApart(socket, [first, chunk(event('stream', piece('b')) + DONE) + LAST_CHUNK]);
    else socket.write(first);
    if (json.traceId !== 'paused') void writeApart(socket, [': one\n\n', ': two\n\n', DONE].map(chunk));
  });
  const client = connect(t, peer);
  const paused = heard(client, { traceId: 'paused' });
  await peer.until(() => peer.requests.length === 1);
  while (paused.events.length === 0) await turn();
  paused.call.pause();
  // Its next bytes make undici stop its parser.
  for (let i = 0; i < 5; i++) await turn();
  let failed: unknown;
  const other = client.call(
    { method: 'chat.start', targetAgent: 'support', params: { stream: true } },
    {
      onResponse: () => {},
      onError: (error) => (failed = error),
      onEvent: () => {
        paused.call.resume();
      },
    },
  );
  t.equal(await paused.ended, 'done');
  t.equal(failed, undefined);
  t.same(paused.events, ['content', 'content', 'done']);
  other.cancel();
  await peer.until(() => peer.open === 1);
});

t.test('a call that is cancelled says nothing more', async (t) => {
  const { peer, client } = await pair(t, (socket) =>
    writeApart(socket, [STREAM_HEAD, chunk(event('stream', piece('a'))), chunk(DONE)]),
  );
  const { call, events, ended } = heard(client);
  let settled = false;
  void ended.then(() => (settled = true));
  await peer.until(() => peer.requests.length === 1);
  call.cancel();
  call.cancel();
  call.resume();
  call.pause();
  await peer.until(() => peer.open === 0);
  t.same(events, []);
  t.equal(settled, false);
});

t.test('a listener hears nothing before its call is known', async (t) => {
  const { client } = await pair(t, answer());
  await client.close();
  let known = false;
  const { ended } = heard(client);
  void ended.then(() => t.equal(known, true));
  known = true;
  t.ok((await ended) instanceof ArcError);
});

t.test('[F-523] a keepAliveTimeout that no timer can wait for is named when the client is created', async (t) => {
  for (const keepAliveTimeout of [Number.POSITIVE_INFINITY, 2 ** 31]) {
    const create = (): ArcClient => new ArcClient({ endpoint: 'http://127.0.0.1:1', keepAliveTimeout });
    t.throws(create, new TypeError('keepAliveTimeout: must be a number from 1 to 2147483647'));
  }
  t.doesNotThrow(() => new ArcClient({ endpoint: 'http://127.0.0.1:1', keepAliveTimeout: 2 ** 31 - 1 }));
});
