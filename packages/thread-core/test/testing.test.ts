import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { ArcError } from '../src/protocol/errors.js';
import { ChatRegistry } from '../src/testing/chats.js';
import {
  type AgentHandler,
  type Answer,
  createAgentServer,
  echo,
  faults,
  startTestAgent,
  type TestAgentOptions,
  textOf,
} from '../src/testing/index.js';

type Json = Record<string, unknown>;

const hello = { role: 'user', parts: [{ type: 'text', content: 'hello' }] };

function call(method: string, params: object, more: object = {}): string {
  const base = { arc: '1.0', id: 'r1', method, requestAgent: 'tester', targetAgent: 'support' };
  return JSON.stringify({ ...base, params, ...more });
}

const start = (chatId?: string, stream = false): string =>
  call('chat.start', { initialMessage: hello, stream, ...(chatId === undefined ? {} : { chatId }) });
const message = (chatId: string, stream = false): string => call('chat.message', { chatId, message: hello, stream });
const end = (chatId: string): string => call('chat.end', { chatId, reason: 'bye' });

interface Reply {
  status: number;
  type: string | null;
  text: string;
  json: { id: string; responseAgent: string; traceId?: string; result: Json & { chat: Json }; error: Json };
}

async function post(url: string, body: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(url, { method: 'POST', body, redirect: 'manual', ...init });
  const all = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(all);
  } catch {
    json = undefined;
  }
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    text: all,
    json: json as Reply['json'],
  };
}

const code = async (url: string, body: string, init?: RequestInit): Promise<[number, unknown]> => {
  const { status, json } = await post(url, body, init);
  return [status, json.error.code];
};

/** The bytes that come back on a socket of its own, and how the connection ended. */
async function bytes(url: string, body: string): Promise<{ received: string; error: string | undefined }> {
  const { port, pathname, host } = new URL(url);
  const socket = connect(Number(port), '127.0.0.1');
  let received = '';
  let error: string | undefined;
  socket.on('data', (chunk) => {
    received += chunk;
  });
  socket.on('error', (cause: NodeJS.ErrnoException) => {
    error = cause.code;
  });
  const headers = [`Host: ${host}`, `Content-Length: ${Buffer.byteLength(body)}`, 'Connection: close'];
  socket.write([`POST ${pathname} HTTP/1.1`, ...headers, '', body].join('\r\n'));
  await new Promise((resolve) => socket.once('close', resolve));
  return { received, error };
}

function bodyOf(received: string): string {
  return received.slice(received.indexOf('\r\n\r\n') + 4);
}

async function agentFor(t: Test, options?: TestAgentOptions) {
  const agent = await startTestAgent(options);
  t.teardown(() => agent.close());
  return agent;
}

async function serverFor(t: Test, handler: AgentHandler, options = {}) {
  const server = createAgentServer({ agents: { support: handler }, ...options });
  t.teardown(() => server.close());
  return { server, url: await server.listen() };
}

t.test('createAgentServer', async (t) => {
  t.test('a chat has memory, keeps the id of the client, and ends once', async (t) => {
    const { server, url } = await serverFor(t, echo);
    const first = await post(url, start('mine'));
    t.equal(first.type, 'application/arc+json');
    t.match(first.json, {
      id: 'r1',
      responseAgent: 'support',
      result: { type: 'chat', chat: { chatId: 'mine', status: 'ACTIVE' } },
    });
    t.match(first.json.result.chat.message, {
      role: 'agent',
      parts: [{ type: 'TextPart', content: 'support #1: hello' }],
    });
    const second = await post(`${url}/?again`, message('mine'));
    t.match(second.json.result.chat.message, { parts: [{ content: 'support #2: hello' }] });
    t.equal(server.chats.get('mine')?.history.length, 4);
    t.match((await post(url, end('mine'))).json.result, { chat: { chatId: 'mine', status: 'CLOSED', reason: 'bye' } });
    t.strictSame(await code(url, message('mine')), [409, -43_002]);
    t.strictSame(await code(url, end('mine')), [409, -43_002]);
    t.strictSame(await code(url, message('other')), [404, -43_001]);
    t.match((await post(url, start('mine'))).json.result.chat.message, { parts: [{ content: 'support #1: hello' }] });
  });

  t.test('the same handler answers as a stream', async (t) => {
    const { url } = await serverFor(t, echo);
    const { text, type } = await post(url, start('mine', true));
    t.equal(type, 'text/event-stream');
    const data = (content: string) =>
      `{"chatId":"mine","message":{"role":"agent","parts":[{"type":"TextPart","content":"${content}"}]}}`;
    t.equal(
      text,
      `event: stream\ndata: ${data('support ')}\n\nevent: stream\ndata: ${data('#1: ')}\n\nevent: stream\ndata: ${data('hello')}\n\n` +
        'event: done\ndata: {"chatId":"mine","status":"ACTIVE","done":true,"requestId":"r1"}\n\n',
    );
  });

  t.test('a handler may give text, parts, events, or a promise of them', async (t) => {
    const given: Record<string, AgentHandler> = {
      text: () => 'plain',
      part: async () => ({ type: 'data', content: { a: 1 } }),
      mixed: () => ['a', 'b', { type: 'data', content: 1 }, { event: 'progress', data: 50 }, 'c'],
      done: () => [{ event: 'done' }],
    };
    const server = createAgentServer({ agents: given });
    t.teardown(() => server.close());
    const url = await server.listen();
    const parts = async (agent: string) => {
      const { json } = await post(url, call('chat.start', { initialMessage: hello }, { targetAgent: agent }));
      return (json.result.chat.message as Json).parts;
    };
    t.strictSame(await parts('text'), [{ type: 'TextPart', content: 'plain' }]);
    t.strictSame(await parts('part'), [{ type: 'data', content: { a: 1 } }]);
    t.strictSame(await parts('mixed'), [
      { type: 'TextPart', content: 'ab' },
      { type: 'data', content: 1 },
      { type: 'TextPart', content: 'c' },
    ]);
    const streamed = async (agent: string) =>
      (await post(url, call('chat.start', { initialMessage: hello, stream: true }, { targetAgent: agent }))).text;
    t.match(await streamed('mixed'), /event: progress\ndata: 50\n\n/);
    t.equal(await streamed('done'), 'event: done\ndata: \n\n');
  });

  t.test('a handler receives everything about its turn', async (t) => {
    const { url } = await serverFor(t, ({ signal, message, history, ...rest }) => {
      t.equal(signal.aborted, false);
      t.equal(textOf(message), 'hello');
      t.strictSame(history, []);
      return JSON.stringify(rest);
    });
    const params = { initialMessage: hello, chatId: 'c', metadata: { a: 1 } };
    const { json } = await post(url, call('chat.start', params, { traceId: 'tr', id: 7 }));
    const { parts } = json.result.chat.message as { parts: [{ content: string }] };
    t.strictSame(JSON.parse(parts[0].content), {
      agentId: 'support',
      chatId: 'c',
      method: 'chat.start',
      traceId: 'tr',
      metadata: { a: 1 },
      stream: false,
    });
    t.match(json, { id: 7, traceId: 'tr' });
  });

  t.test('a handler that fails is -32603, its ArcError is kept, in both kinds of answer', async (t) => {
    const errors: Record<string, AgentHandler> = {
      plain: () => {
        throw new Error('boom');
      },
      odd: () => Promise.reject('odd'),
      own: async function* () {
        yield 'some';
        throw new ArcError(-50_007, 'mine', { status: 422 });
      },
      event: () => ({ event: 'error', data: { code: -43_005, message: 'said so' } }),
    };
    const server = createAgentServer({ agents: errors });
    t.teardown(() => server.close());
    const url = await server.listen();
    const ask = (agent: string, stream: boolean) =>
      post(url, call('chat.start', { initialMessage: hello, chatId: agent, stream }, { targetAgent: agent }));
    t.match(await ask('plain', false), {
      status: 500,
      json: { error: { code: -32_603, message: 'Internal error: boom' } },
    });
    t.match(await ask('odd', false), { json: { error: { message: 'Internal error: odd' } } });
    t.match(await ask('own', false), { status: 422, json: { error: { code: -50_007, message: 'mine' } } });
    t.match(await ask('event', false), { json: { error: { code: -43_005 } } });
    t.equal(
      (await ask('plain', true)).text,
      'event: error\ndata: {"chatId":"plain","error":{"code":-32603,"message":"Internal error: boom"}}\n\n',
    );
    t.match((await ask('own', true)).text, /^event: stream\n.*\n\nevent: error\ndata: .*-50007.*\n\n$/);
    t.equal((await ask('event', true)).text, 'event: error\ndata: {"code":-43005,"message":"said so"}\n\n');
  });

  t.test('an invalid request is answered with an error envelope', async (t) => {
    const { url } = await serverFor(t, echo, { maxBodyBytes: 1000 });
    t.strictSame(await code(url, '{'), [400, -32_700]);
    t.strictSame(await code(url, '[]'), [400, -32_600]);
    const valid = JSON.parse(start()) as Json;
    for (const field of Object.keys(valid)) {
      const { [field]: _, ...without } = valid;
      const missing = await post(url, JSON.stringify(without));
      t.match(missing, {
        status: 400,
        json: { error: { code: -32_600, message: `Missing required field: ${field}` } },
      });
      const wrong = await post(url, JSON.stringify({ ...valid, [field]: null }));
      t.match(wrong, { status: 400, json: { error: { code: -32_600, message: `Invalid field: ${field}` } } });
    }
    t.strictSame(await code(url, call('chat.start', {}, { arc: '2.0' })), [400, -45_001]);
    t.strictSame(await code(url, call('chat.start', {}, { targetAgent: 'toString' })), [404, -41_001]);
    t.strictSame(await code(url, call('chat.toString', {})), [404, -32_601]);
    t.strictSame(await code(url, `"${'x'.repeat(2000)}"`), [413, -45_004]);
    t.strictSame(await code(new URL('/elsewhere', url).href, start()), [404, -32_600]);
    t.equal((await fetch(url)).status, 405);
    const bad: [object, string][] = [
      [{}, 'params.initialMessage must be an object'],
      [{ initialMessage: {} }, 'params.initialMessage.role must be a string'],
      [
        { initialMessage: { role: 'user', parts: [1] } },
        'params.initialMessage.parts must be an array of parts with a type',
      ],
      [{ initialMessage: hello, chatId: 1 }, 'params.chatId must be a string'],
    ];
    for (const [params, message] of bad) {
      t.match((await post(url, call('chat.start', params))).json.error, { code: -32_602, message });
    }
  });

  t.test('a body without end costs its connection', async (t) => {
    const { url } = await serverFor(t, echo, { maxBodyBytes: 1000 });
    const { received } = await bytes(url, 'x'.repeat(1_000_000));
    t.equal(received, '');
  });

  t.test('a token can be required', async (t) => {
    const { url } = await serverFor(t, echo, { token: 'secret' });
    t.strictSame(await code(url, start()), [401, -44_001]);
    t.strictSame(await code(url, start(), { headers: { authorization: 'Bearer wrong' } }), [401, -44_001]);
    t.equal((await post(url, start(), { headers: { authorization: 'Bearer secret' } })).status, 200);
    const late = await serverFor(t, echo, { token: (async () => false) as never });
    t.strictSame(await code(late.url, start()), [401, -44_001], 'a promise lets nobody in');
    const other = await serverFor(t, echo, { token: (token: string | undefined) => token?.startsWith('s') });
    t.equal((await post(other.url, start(), { headers: { authorization: 'bearer s' } })).status, 200);
    t.strictSame(await code(other.url, start()), [401, -44_001]);
  });

  t.test('tasks can be created, sent to, looked at, subscribed to and cancelled', async (t) => {
    const { url } = await serverFor(t, echo);
    const created = await post(url, call('task.create', { initialMessage: hello, metadata: { a: 1 } }));
    const { taskId } = created.json.result.task as { taskId: string };
    t.match(created.json.result, {
      type: 'task',
      task: { status: 'SUBMITTED', priority: 'NORMAL', metadata: { a: 1 } },
    });
    t.match((await post(url, call('task.send', { taskId, message: hello }))).json.result, { success: true });
    const info = (await post(url, call('task.info', { taskId }))).json.result.task;
    t.match(info, { status: 'INPUT_REQUIRED' });
    t.notMatch(info, { messages: Array });
    const { json } = await post(url, call('task.info', { taskId, includeMessages: true, includeArtifacts: true }));
    const { messages } = json.result.task as { messages: Json[] };
    t.match(messages[3], { role: 'agent', parts: [{ content: 'support #2: hello' }] });
    const subscribed = await post(url, call('task.subscribe', { taskId, callbackUrl: 'http://localhost/cb' }));
    t.match(subscribed.json.result, {
      type: 'task',
      subscription: { taskId, callbackUrl: 'http://localhost/cb', events: ['TASK_COMPLETED', 'TASK_FAILED'] },
    });
    t.strictSame(await code(url, call('task.subscribe', { taskId })), [400, -32_602]);
    t.match((await post(url, call('task.cancel', { taskId }))).json.result.task, {
      status: 'CANCELED',
      canceledAt: String,
    });
    t.strictSame(await code(url, call('task.send', { taskId, message: hello })), [409, -42_003]);
    t.strictSame(await code(url, call('task.info', { taskId: 'nope' })), [404, -42_001]);
    t.strictSame(await code(url, call('task.info', {})), [400, -32_602]);
  });

  t.test('the signal aborts when the client disconnects, also if the handler does not use it', async (t) => {
    let begun = (): void => {};
    let aborted = (): void => {};
    const { url } = await serverFor(t, ({ signal }) => {
      signal.addEventListener('abort', aborted);
      begun();
      return new Promise(() => {});
    });
    for (const stream of [false, true]) {
      const controller = new AbortController();
      const running = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const gone = new Promise<void>((resolve) => {
        aborted = resolve;
      });
      const answer = post(url, start(undefined, stream), { signal: controller.signal });
      await running;
      controller.abort();
      await t.rejects(answer, { name: 'AbortError' });
      await gone;
    }
  });

  t.test('a generator is closed when the client goes', async (t) => {
    let closed = (): void => {};
    const done = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const { url } = await serverFor(t, async function* () {
      try {
        for (;;) yield 'more '.repeat(1000);
      } finally {
        closed();
      }
    });
    const response = await fetch(url, { method: 'POST', body: start('c', true) });
    await response.body?.cancel();
    await done;
    t.pass('its finally block ran');
  });

  t.test('close ends at once, twice too, and listen fails on a port in use', async (t) => {
    const { server, url } = await serverFor(t, () => new Promise(() => {}));
    const second = createAgentServer({ agents: {} });
    t.throws(() => second.endpoint, { message: 'The agent server does not listen' });
    await t.rejects(second.listen(Number(new URL(url).port)), { code: 'EADDRINUSE' });
    await second.close();
    const idle = connect(Number(new URL(url).port), '127.0.0.1');
    await once(idle, 'connect');
    const arrived = once(server.server, 'request');
    const waiting = t.rejects(post(url, start()));
    await arrived;
    await Promise.all([server.close(), server.close()]);
    await waiting;
    await server[Symbol.asyncDispose]();
  });

  t.test('an IPv6 host stands in brackets', async (t) => {
    const server = createAgentServer({ agents: {}, path: '/x' });
    t.teardown(() => server.close());
    t.match(await server.listen(0, '::1'), /^http:\/\/\[::1\]:\d+\/x$/);
  });

  t.test('old closed chats are forgotten', async (t) => {
    const chats = new ChatRegistry(() => {});
    chats.add(chats.draft('support', 'open'));
    for (let n = 0; n <= 1000; n++) {
      const chat = chats.draft('support', `c${n}`);
      chats.add(chat);
      chats.close(chat, null);
    }
    t.equal(chats.all.size, 1001);
    t.equal(chats.open, 1);
    t.equal(chats.find('support', 'c0'), undefined);
    t.throws(() => chats.find('support', 'c1'), { code: -43_002 });
  });
});

t.test('startTestAgent', async (t) => {
  t.test('serves any agent, echoes, and records', async (t) => {
    await using agent = await startTestAgent();
    const { json } = await post(
      agent.endpoint,
      call('chat.start', { initialMessage: hello }, { targetAgent: 'x', traceId: 'tr' }),
    );
    t.match(json.result.chat.message, { parts: [{ content: 'x #1: hello' }] });
    await post(agent.endpoint, '[');
    t.match(agent.requests, [
      {
        method: 'chat.start',
        agentId: 'x',
        traceId: 'tr',
        path: '/arc',
        connection: 1,
        aborted: false,
        chatId: undefined,
      },
      { method: '', agentId: '', body: '[' },
    ]);
    t.equal(agent.requests[0]?.headers.connection, 'keep-alive');
    t.match(agent.counters, { requests: 2, started: 1, ended: 0, open: 1, aborted: 0 });
    t.equal(agent.counters.connections, agent.counters.accepted);
    const [chat] = agent.chats.values();
    await post(agent.endpoint, call('chat.end', { chatId: chat?.chatId }, { targetAgent: 'x' }));
    await agent.waitFor('idle');
    t.match(agent.counters, { started: 1, ended: 1, open: 0, running: 0 });
  });

  t.test('agents, the handler and the ids of chats can be set', async (t) => {
    const agent = await agentFor(t, { agents: ['support'], handler: () => 'set', chatIds: 'server' });
    const { json } = await post(agent.endpoint, start('mine'));
    t.match(json.result.chat, { message: { parts: [{ content: 'set' }] } });
    t.match(json.result.chat.chatId, /^chat-/);
    t.strictSame(
      await code(agent.endpoint, call('chat.start', { initialMessage: hello }, { targetAgent: 'x' })),
      [404, -41_001],
    );
  });

  t.test('a lost chat can be reported in any way', async (t) => {
    const agent = await agentFor(t);
    await post(agent.endpoint, start('a'));
    await post(agent.endpoint, start('b'));
    agent.forget('a');
    t.strictSame(await code(agent.endpoint, message('a')), [404, -43_001]);
    agent.forget();
    t.equal(agent.counters.open, 0);
    t.strictSame(await code(agent.endpoint, message('b', true)), [404, -43_001]);
    const other = await agentFor(t, { lostChat: { code: -42_005, status: 200, as: 'event' } });
    t.strictSame(await code(other.endpoint, message('b')), [200, -42_005]);
    t.match(await post(other.endpoint, message('b', true)), {
      status: 200,
      type: 'text/event-stream',
      text: /^event: error\ndata: \{"chatId":"b","error":\{"code":-42005,.*\}\n\n$/,
    });
  });

  t.test('a chat.start in an open chat continues it; another agent cannot see the chat', async (t) => {
    const agent = await agentFor(t);
    await post(agent.endpoint, start('a'));
    t.match((await post(agent.endpoint, start('a'))).json.result.chat.message, {
      parts: [{ content: 'support #2: hello' }],
    });
    t.equal(agent.counters.started, 1);
    t.strictSame(await code(agent.endpoint, call('chat.end', { chatId: 'a' }, { targetAgent: 'x' })), [404, -43_001]);
  });

  for (const createChat of ['at-once', 'when-ready'] as const) {
    for (const ignoreAbort of [false, true]) {
      for (const stream of [false, true]) {
        const exists = createChat === 'at-once' || ignoreAbort;
        const name = `${createChat}, ${ignoreAbort ? 'ignoring' : 'seeing'} the abort, ${stream ? 'stream' : 'json'}`;
        t.test(`a start that is given up ${exists ? 'leaves' : 'makes no'} chat: ${name}`, async (t) => {
          const agent = await agentFor(t, { createChat, ignoreAbort });
          const gate = agent.hold('chat.start');
          const controller = new AbortController();
          const answer = post(agent.endpoint, start('c', stream), { signal: controller.signal });
          const held = await gate.arrived;
          t.equal(agent.counters.open, createChat === 'at-once' ? 1 : 0);
          controller.abort();
          await t.rejects(answer);
          await agent.waitFor(({ counters }) => counters.aborted === 1);
          t.equal(held.aborted, true);
          gate.release();
          await agent.waitFor(({ counters }) => counters.running === 0);
          t.equal(agent.counters.open, exists ? 1 : 0);
        });
      }
    }
  }

  t.test('close releases requests that are held, also if aborts are ignored', async (t) => {
    const agent = await agentFor(t, { ignoreAbort: true });
    const gate = agent.hold();
    const answer = t.rejects(post(agent.endpoint, start()));
    await gate.arrived;
    await agent.close();
    await answer;
    await agent.waitFor(({ counters }) => counters.running === 0);
    t.equal(agent.counters.aborted, 0);
  });

  t.test('a gate holds what matches, until it is released', async (t) => {
    const agent = await agentFor(t);
    const gate = agent.hold((request) => request.chatId === 'slow');
    const order: string[] = [];
    const slow = post(agent.endpoint, start('slow')).then(() => order.push('slow'));
    await gate.arrived;
    await post(agent.endpoint, start('fast'));
    order.push('fast');
    const ending = agent.hold({ method: 'chat.end' });
    const ended = post(agent.endpoint, end('fast'));
    await ending.arrived;
    t.equal(agent.chats.get('fast')?.status, 'ACTIVE');
    ending.release();
    t.equal((await ended).status, 200);
    gate.release();
    await slow;
    t.strictSame(order, ['fast', 'slow']);
    t.equal((await post(agent.endpoint, message('slow'))).status, 200);
  });

  t.test('waitFor rejects with the counters, or with what the condition throws', async (t) => {
    const agent = await agentFor(t);
    await post(agent.endpoint, start());
    await t.rejects(agent.waitFor('idle', { timeout: 1 }), { message: /after 1 ms waiting for idle; .*"open":1/ });
    await t.rejects(
      agent.waitFor(() => false, { timeout: 1 }),
      { message: /\(\) => false/ },
    );
    const broken = () => {
      throw new Error('broken');
    };
    await t.rejects(agent.waitFor(broken), { message: 'broken' });
  });
});

t.test('script', async (t) => {
  /** The answer to one request under a script, as it stands on the wire. */
  async function under(t: Test, answer: Answer, body = start('c')) {
    const agent = await agentFor(t);
    agent.script({}, answer);
    const { received, error } = await bytes(agent.endpoint, body);
    return { agent, received, error, body: bodyOf(received) };
  }

  t.test('answers go to the requests that match, once each, in order', async (t) => {
    const agent = await agentFor(t);
    const said = async (body: string) => {
      const { json } = await post(agent.endpoint, body);
      return (json.result.chat.message as { parts: [{ content: unknown }] }).parts[0].content;
    };
    agent.script({ method: 'chat.message', agentId: 'support' }, 'one', ['t', 'wo'], { reply: 'three', times: 2 });
    agent.script('chat.start', ({ chatId }) => `started ${chatId}`);
    t.equal(await said(start('c')), 'started c');
    for (const expected of ['one', 'two', 'three', 'three', 'support #6: hello']) {
      t.equal(await said(message('c')), expected);
    }
    agent.script({ chatId: 'c' }, 'not used, but the chat ends');
    t.match((await post(agent.endpoint, end('c'))).json.result.chat, { status: 'CLOSED' });
  });

  t.test('an ARC error leaves the chats alone', async (t) => {
    const agent = await agentFor(t);
    const error = { code: -44_004, message: 'expired', details: { a: 1 } };
    agent.script({}, { error, status: 401 }, { error: { code: -43_001 } }, { error, as: 'event' });
    t.match(await post(agent.endpoint, start()), { status: 401, json: { error } });
    t.strictSame(await code(agent.endpoint, start()), [404, -43_001]);
    const { status, text } = await post(agent.endpoint, start('c'));
    t.strictSame([status, text], [200, `event: error\ndata: {"chatId":"c","error":${JSON.stringify(error)}}\n\n`]);
    t.equal(agent.counters.started, 0);
  });

  t.test('stream events are sent as they are written', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, { events: [{ event: 'chat', data: 'a\nb' }, ': keep\n\n', { data: { n: 1 } }] });
    const done = '{"chatId":"c","status":"ACTIVE","done":true,"requestId":"r1"}';
    const { text, type } = await post(agent.endpoint, start('c'));
    t.equal(type, 'text/event-stream');
    t.equal(text, `event: chat\ndata: a\ndata: b\n\n: keep\n\ndata: {"n":1}\n\nevent: done\ndata: ${done}\n\n`);
    agent.script({}, { events: [{ data: 'x' }, { event: 'error' }], lineEnd: '\r\n', finalBlankLine: false });
    t.equal((await post(agent.endpoint, start('c'))).text, 'data: x\r\n\r\nevent: error\r\ndata: \r\n');
    agent.script({}, { events: [{ data: 'x' }], lineEnd: '\r', done: false });
    t.equal((await post(agent.endpoint, start('c'))).text, 'data: x\r\r');
    agent.script({}, { events: [] });
    t.equal((await post(agent.endpoint, message('c'))).text, `event: done\ndata: ${done}\n\n`);
    t.equal(agent.counters.open, 1);
  });

  t.test('raw bytes, a chunk at a time', async (t) => {
    const { received, agent } = await under(t, { raw: ['HTTP/1.1 200 OK\r\n', Buffer.from('X: ü\r\n\r\n{'), '}'] });
    t.equal(received, 'HTTP/1.1 200 OK\r\nX: ü\r\n\r\n{}');
    await agent.waitFor(({ counters }) => counters.connections === 0);
    t.equal(agent.counters.aborted, 0);
    t.equal(agent.counters.open, 1);
  });

  t.test('a body in chunks of some bytes', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, { reply: 'üü', chunkBytes: 1 });
    const { text } = await post(agent.endpoint, start('c', true));
    t.match(text, /"üü".*\n\nevent: done/);
    agent.script({}, { reply: 'x', chunkBytes: 7 });
    const { received } = await bytes(agent.endpoint, start('d', true));
    t.match(received, /\r\n7\r\nevent: \r\n/);
  });

  t.test('tasks and chat.end can be scripted and held, too', async (t) => {
    const agent = await agentFor(t);
    const gate = agent.hold('task.info');
    agent.script('task.info', { raw: ['HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n'] });
    const created = await post(agent.endpoint, call('task.create', { initialMessage: hello }));
    const { taskId } = created.json.result.task as { taskId: string };
    const info = post(agent.endpoint, call('task.info', { taskId }));
    await gate.arrived;
    gate.release();
    t.equal((await info).status, 418);
    await post(agent.endpoint, start('c'));
    agent.script('chat.end', { events: [] });
    t.match((await post(agent.endpoint, end('c'))).text, /^event: done\ndata: \{"chatId":"c"/);
    t.equal(agent.chats.get('c')?.status, 'CLOSED');
  });

  t.test('a reset, before the first byte and after some', async (t) => {
    const first = await under(t, faults.reset());
    t.strictSame([first.received, first.error], ['', 'ECONNRESET']);
    t.equal(first.agent.counters.open, 1);
    const later = await under(t, faults.reset(10));
    t.strictSame([later.body, later.error], ['{"arc":"1.', 'ECONNRESET']);
    await later.agent.waitFor(({ counters }) => counters.running === 0);
    t.equal(later.agent.counters.aborted, 0);
    const streamed = await under(t, faults.reset(10), start('c', true));
    t.match(streamed.body, /event: str/);
  });

  t.test('a reset before the answer creates no chat if chats are created late', async (t) => {
    const agent = await agentFor(t, { createChat: 'when-ready' });
    agent.script({}, faults.reset(), faults.reset(5));
    t.equal((await bytes(agent.endpoint, start('c'))).error, 'ECONNRESET');
    t.equal(agent.counters.open, 0);
    await bytes(agent.endpoint, start('c'));
    t.equal(agent.counters.open, 1);
  });

  t.test('a cut', async (t) => {
    const { received, body, error } = await under(t, faults.cut());
    t.strictSame([body.length, error], [40, undefined]);
    t.match(received, /content-length: [1-9]\d\d/i);
    const streamed = await under(t, { events: ['event: stream\ndata: {"ch'], finish: 'cut' });
    t.equal(streamed.body, '18\r\nevent: stream\ndata: {"ch\r\n');
  });

  t.test('JSON that stops in a proper HTTP answer', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, faults.truncated(12));
    t.equal((await post(agent.endpoint, start())).text, '{"arc":"1.0"');
  });

  t.test('no answer, and a stream that stalls, until the client goes', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, faults.hang(), faults.stall({ event: 'chat', data: 'one' }));
    const hang = new AbortController();
    const nothing = post(agent.endpoint, start(), { signal: hang.signal });
    await agent.waitFor(({ counters }) => counters.requests === 1);
    hang.abort();
    await t.rejects(nothing);
    await agent.waitFor(({ counters }) => counters.aborted === 1 && counters.running === 0);
    const response = await fetch(agent.endpoint, { method: 'POST', body: start('c', true) });
    const reader = response.body?.getReader();
    t.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'event: chat\ndata: one\n\n');
    await reader?.cancel();
    await agent.waitFor(({ counters }) => counters.aborted === 2 && counters.running === 0);
  });

  t.test('a refusal that stalls does not hold up the next request over its connection', async (t) => {
    const agent = await agentFor(t);
    // The chat is not there: what is answered is shorter than what the script would cut.
    agent.script({}, { reply: 'never said', after: 5000, finish: 'stall' });
    const request = httpRequest(agent.endpoint, { method: 'POST' }).end(message('none'));
    const [response] = await once(request, 'response');
    t.match(String((await once(response, 'data'))[0]), /-43001/);
    t.equal(response.complete, false, 'its end has not arrived, so the connection is not used again');
    request.destroy();
    await agent.waitFor(({ counters }) => counters.aborted === 1 && counters.running === 0);
  });

  t.test('answers that are not an agent’s', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, faults.html(), faults.empty(204), faults.empty(), faults.redirect(), faults.contentType());
    t.match(await post(agent.endpoint, start()), { status: 502, type: 'text/html', text: /<html>/ });
    t.match(await post(agent.endpoint, start()), { status: 204, text: '' });
    t.match(await post(agent.endpoint, start()), { status: 500, text: '' });
    t.equal(agent.counters.started, 0);
    t.match(await post(agent.endpoint, start(), { redirect: 'follow' }), {
      status: 200,
      type: 'text/plain',
      text: /"hello"/,
    });
    t.equal(agent.requests.at(-1)?.path, '/arc/');
    agent.script({}, { ...faults.redirect('/arc', 308), times: Number.POSITIVE_INFINITY });
    await t.rejects(post(agent.endpoint, start(), { redirect: 'follow' }), { cause: { message: /redirect/ } });
  });

  t.test('answers without measure', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, faults.huge(3_000_000), faults.endlessEvent());
    t.ok((await post(agent.endpoint, start())).text.length > 3_000_000);
    const request = httpRequest(agent.endpoint, { method: 'POST' }).end(start('c', true));
    const [response] = await once(request, 'response');
    let size = 0;
    for await (const chunk of response) {
      size += chunk.length;
      if (size > 5_000_000) break;
    }
    await agent.waitFor(({ counters }) => counters.aborted === 1 && counters.running === 0);
  });

  t.test('an agent that ignores the abort may continue for ever without harm', async (t) => {
    const agent = await agentFor(t, { ignoreAbort: true });
    agent.script({}, faults.endlessEvent());
    const response = await fetch(agent.endpoint, { method: 'POST', body: start('c', true) });
    await response.body?.cancel();
    await agent.waitFor(({ counters }) => counters.aborted === 1);
    t.equal((await post(agent.endpoint, start())).status, 200);
    await agent.close();
    await agent.waitFor(({ counters }) => counters.running === 0);
    t.equal(agent.server.listening, false);
  });

  t.test('events that fail end the stream with an error', async (t) => {
    const agent = await agentFor(t);
    const events = {
      *[Symbol.iterator]() {
        yield { data: 'one' };
        yield { data: 'two' };
        throw new Error('no more');
      },
    };
    agent.script({}, { events });
    t.match((await post(agent.endpoint, start('c'))).text, /^data: one\n\nevent: error\ndata: .*-32603/);
  });

  t.test('a delay comes before the answer, and ends with the client', async (t) => {
    const agent = await agentFor(t);
    agent.script({}, { reply: 'late', delay: 5 }, { reply: 'too late', delay: 60_000 });
    t.match((await post(agent.endpoint, start())).text, /late/);
    const controller = new AbortController();
    const answer = post(agent.endpoint, start(), { signal: controller.signal });
    await agent.waitFor(({ counters }) => counters.requests === 2);
    controller.abort();
    await t.rejects(answer);
    await agent.waitFor(({ counters }) => counters.running === 0);
  });

  t.test('a client that goes in the middle of a stream does not stop an agent that ignores it', async (t) => {
    const agent = await agentFor(t, { ignoreAbort: true });
    let goOn = (): void => {};
    const gone = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    agent.script({}, async function* () {
      yield 'one';
      await gone;
      yield 'two';
    });
    const response = await fetch(agent.endpoint, { method: 'POST', body: start('c', true) });
    await response.body?.cancel();
    await agent.waitFor(({ counters }) => counters.aborted === 1);
    goOn();
    await agent.waitFor(({ counters }) => counters.running === 0);
    t.match(agent.chats.get('c')?.history[1], { parts: [{ content: 'onetwo' }] });
  });
});
