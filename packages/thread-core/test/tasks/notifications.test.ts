import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { until } from '@arc/test-client';
import type { TaskNotification } from '@arc/thread-protocol';
import t, { type Test } from 'tap';
import { ArcClient } from '../../src/client/arc-client.js';
import { createNotificationHandler, type NotificationHandlerOptions } from '../../src/tasks/notification-handler.js';
import { toPythonJson } from '../../src/tasks/signature.js';
import { startTestAgent } from '../../src/testing/index.js';

interface Fixture {
  secret: string;
  vectors: { signature: string; bodies: string[] }[];
}

/** Signed with Python's `hmac` over `json.dumps`; the bodies are those of two generations of the SDK's HTTP client. */
const { secret, vectors } = JSON.parse(
  readFileSync(new URL('../fixtures/notifications.json', import.meta.url), 'utf8'),
) as Fixture;

const plain = {
  arc: '1.0',
  method: 'task.notification',
  requestAgent: 'support',
  taskId: 'task-1',
  event: 'TASK_CANCELLED',
  data: { status: 'CANCELLED' },
};

async function start(t: Test, options: Partial<NotificationHandlerOptions> = {}) {
  const received: TaskNotification[] = [];
  const log: unknown[] = [];
  const write = (about: object): void => void log.push(about);
  const handler = createNotificationHandler({
    onNotification: (notification) => void received.push(notification),
    logger: { warn: write, error: write },
    ...options,
  });
  const server = createServer((request, response) => void handler.node(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/tasks`;
  const post = async (body: string | object, headers: Record<string, string> = {}) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(url, { method: 'POST', body: text, headers });
    return { status: response.status, json: (await response.json()) as Record<string, unknown> };
  };
  return { url, post, received, log };
}

t.test('signatures of the Python SDK are right, whatever its HTTP client makes of the body', async (t) => {
  const { post, received } = await start(t, { verify: secret });
  for (const { signature, bodies } of vectors) {
    for (const body of bodies) {
      t.match(await post(body, { 'x-arc-signature': signature }), { status: 200, json: { success: true } });
      t.match(received.pop(), { requestAgent: 'support', data: { status: String } });
    }
  }
});

t.test('a notification that is not signed, or not by the agent, is refused with 401', async (t) => {
  const { post, received, log } = await start(t, { verify: ['another', secret] });
  const [{ signature, bodies }] = vectors as [Fixture['vectors'][0]];
  const [body] = bodies as [string];
  const wrong = [
    undefined,
    '',
    signature.slice('sha256='.length),
    signature.replace('sha256', 'sha1'),
    `sha256=${Buffer.from('short').toString('base64')}`,
    (vectors[1] as Fixture['vectors'][0]).signature,
  ];
  for (const each of wrong) {
    const answer = await post(body, each === undefined ? {} : { 'x-arc-signature': each });
    t.match(answer, { status: 401, json: { error: { code: -44_001 } } });
  }
  t.match(await post(body.replace('task-1', 'task-2'), { 'x-arc-signature': signature }), { status: 401 });
  t.strictSame(received, []);
  t.equal(log.length, wrong.length + 1);
  t.notMatch(JSON.stringify(log), secret);
  t.match(await post(body, { 'x-arc-signature': signature }), { status: 200 }, 'the second secret counts, too');
});

t.test('strangers cannot fill the log [F-494]', async (t) => {
  const { post, log } = await start(t, { verify: secret });
  for (let i = 0; i < 30; i++) t.equal((await post(plain)).status, 401);
  t.equal(log.length, 10, 'ten lines of a kind a minute');
});

t.test('strangers that leave in the middle of a notification hide no fault of the application', async (t) => {
  const { url, post, log } = await start(t, {
    onNotification: () => {
      throw new Error('the database is down');
    },
  });
  const { port, pathname } = new URL(url);
  for (let count = 0; count < 12; count += 1) {
    const socket = connect(Number(port), '127.0.0.1');
    socket.write(`POST ${pathname} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n`);
    await once(socket, 'data');
    socket.resetAndDestroy();
  }
  await until(() => log.length === 10, 'ten of them to be logged');
  t.equal((await post(plain)).status, 500);
  t.match(log[10], { taskId: 'task-1', err: { message: 'the database is down' } });
});

t.test('`verify` may be a function, which gets the text and the headers', async (t) => {
  const { post, received } = await start(t, {
    verify: async ({ body, headers }) => headers.authorization === 'Bearer x' && body.includes('task-1'),
  });
  t.match(await post(plain, { authorization: 'Bearer x' }), { status: 200 });
  t.match(await post(plain), { status: 401 });
  t.match(received, [{ taskId: 'task-1', event: 'TASK_CANCELLED', data: { status: 'CANCELLED' } }]);
  const failing = await start(t, { verify: () => Promise.reject(new Error('no key')) });
  t.match(await failing.post(plain), { status: 500, json: { error: { code: -32_603, message: 'Internal error' } } });
});

t.test('an ARC request is answered with an envelope', async (t) => {
  const { post, received } = await start(t);
  const params = {
    taskId: 't',
    event: 'STATUS_CHANGE',
    timestamp: '2026-01-01T00:00:00Z',
    data: { status: 'WORKING' },
  };
  const request = { arc: '1.0', id: 'r-1', requestAgent: 'support', targetAgent: 'us', traceId: 'tr', params };
  t.strictSame(await post({ ...request, method: 'task.notification' }), {
    status: 200,
    json: {
      arc: '1.0',
      id: 'r-1',
      responseAgent: 'us',
      targetAgent: 'support',
      traceId: 'tr',
      result: { success: true },
      error: null,
    },
  });
  t.strictSame(received, [{ ...params, requestAgent: 'support', traceId: 'tr' }]);
});

t.test('a body that is no notification is refused, and the error names the field', async (t) => {
  const { url, post, received } = await start(t, { maxBodyBytes: 1000 });
  const cases: [string | object, number, RegExp][] = [
    ['{', 400, /not JSON/],
    ['[]', 400, /object/],
    [{ ...plain, arc: '2.0' }, 400, /2\.0/],
    [{ ...plain, arc: 'x'.repeat(700) }, 400, /^ARC "x{20}" is/],
    ['{"arc":{"toString":1}}', 400, /without a version/],
    [`{"arc":${'['.repeat(450)}${']'.repeat(450)}}`, 400, /without a version/],
    [{ ...plain, method: 'chat.start' }, 400, /^method/],
    [{ ...plain, taskId: 7 }, 400, /^taskId/],
    [{ ...plain, event: '' }, 400, /^event/],
    [{ ...plain, params: { taskId: 't', event: 'e' } }, 400, /^id/],
    [{ ...plain, data: 'x'.repeat(1000) }, 413, /1000 bytes/],
    ['x'.repeat(100_000), 413, /1000 bytes/],
  ];
  for (const [body, status, message] of cases) {
    const answer = await post(body).catch((error: unknown) => error);
    // What is far too large may be cut off before the answer is read.
    if (!(answer instanceof Error)) t.match(answer, { status, json: { error: { message } } });
  }
  const get = await fetch(url);
  t.strictSame([get.status, get.headers.get('allow')], [405, 'POST']);
  t.strictSame(received, []);
});

t.test('a requestAgent that is not a string becomes unknown [F-493]', async (t) => {
  const { post } = await start(t);
  const params = { taskId: 't', event: 'e' };
  const odd = {
    arc: '1.0',
    method: 'task.notification',
    id: 1,
    targetAgent: { toString: null },
    requestAgent: 7,
    params,
  };
  t.match(await post(odd), { status: 200, json: { responseAgent: 'unknown', targetAgent: 'unknown' } });
});

/** As the function of the same name, one character at a time. */
function slowPythonJson(json: string): string {
  return json
    .split(/("(?:\\.|[^"\\])*"?)/)
    .map((part, index) =>
      index % 2 === 0
        ? part.replace(/\s/g, '').replace(/[,:]/g, '$& ')
        : part.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
    )
    .join('');
}

t.test('any text is written as Python writes it [F-493]', async (t) => {
  const odd = ['a"b', '\\', '\\"', 'ü', '日本', '\u{1f600}', '\ud800', '\x7f', ', : [', '', 'x\ny\tz', '\u2028'];
  for (const text of [...odd, odd.join('')]) {
    for (const json of [
      JSON.stringify({ [text]: [text, 1, null, { a: text }] }),
      JSON.stringify([text, text], null, 2),
      JSON.stringify(text).slice(0, -1),
      `${JSON.stringify(text)}\\`,
    ]) {
      t.equal(toPythonJson(json).toString('latin1'), slowPythonJson(json));
    }
  }
  t.equal(toPythonJson('').length, 0);
});

t.test('a function of the application that fails is answered with 500, and tells nothing', async (t) => {
  const { post, log } = await start(t, {
    onNotification: () => {
      throw new Error('the password is swordfish');
    },
  });
  const answer = await post(plain);
  t.match(answer, { status: 500, json: { error: { code: -32_603, message: 'Internal error' } } });
  t.notMatch(JSON.stringify(answer), /swordfish/);
  t.match(log, [{ taskId: 'task-1', err: /swordfish/ }]);
});

t.test('a function of the application that never settles is answered with 500', async (t) => {
  const never = (): Promise<never> => new Promise(() => {});
  for (const options of [{ onNotification: never }, { verify: never }]) {
    const { post, log } = await start(t, { ...options, timeout: 20 });
    t.match(await post(plain), { status: 500, json: { error: { code: -32_603 } } });
    t.match(log, [{ err: /took longer than 20 ms/ }]);
  }
});

t.test('an option that is wrong is named', async (t) => {
  const onNotification = (): void => {};
  t.throws(() => createNotificationHandler({} as never), { name: 'TypeError', message: /^onNotification/ });
  for (const verify of ['', [], [''], 7]) {
    t.throws(() => createNotificationHandler({ onNotification, verify: verify as never }), {
      name: 'TypeError',
      message: /^verify/,
    });
  }
  t.throws(() => createNotificationHandler({ onNotification, timeout: 0 }), { name: 'TypeError', message: /^timeout/ });
  t.throws(() => createNotificationHandler({ onNotification, maxBodyBytes: 0 }), {
    name: 'TypeError',
    message: /^maxBodyBytes/,
  });
});

t.test('from task.subscribe to the handler: what happens to a task of the test agent is received', async (t) => {
  const agent = await startTestAgent({ webhookSecret: 'sécret' });
  const client = new ArcClient({ endpoint: agent.endpoint });
  t.teardown(() => Promise.all([client.close(), agent.close()]));
  const arrived: ((notification: TaskNotification) => void)[] = [];
  const next = (): Promise<TaskNotification> => new Promise((resolve) => arrived.push(resolve));
  const { url } = await start(t, {
    verify: 'sécret',
    onNotification: (notification) => {
      arrived.shift()?.(notification);
      return notification.event === 'TASK_CANCELED' ? 'unsubscribe' : undefined;
    },
  });
  const message = { role: 'user', parts: [{ type: 'text', content: 'grüße \u{1f600}' }] };
  const { result } = await client.task.create({ targetAgent: 'support', initialMessage: message });
  const { taskId } = result.task;
  t.equal(result.task.status, 'SUBMITTED');
  const events = ['NEW_MESSAGE', 'TASK_CANCELED'];
  await client.task.subscribe({ targetAgent: 'support', taskId, callbackUrl: url, events });
  const first = next();
  await client.task.send({ targetAgent: 'support', taskId, message });
  t.match(await first, { taskId, event: 'NEW_MESSAGE', requestAgent: 'support', data: { status: 'INPUT_REQUIRED' } });
  const second = next();
  const canceled = await client.task.cancel({ targetAgent: 'support', taskId, reason: 'enough' });
  t.match(canceled.result.task, { status: 'CANCELED', canceledAt: String, reason: 'enough' });
  t.match(await second, { taskId, event: 'TASK_CANCELED', data: { status: 'CANCELED', reason: 'enough' } });
});

t.test('[F-520] a function may take as long as it likes if the time-out is longer than a timer can wait', async (t) => {
  for (const timeout of [Number.POSITIVE_INFINITY, 2 ** 31]) {
    const { post } = await start(t, {
      timeout,
      onNotification: () => new Promise((resolve) => setTimeout(resolve, 20)),
    });
    t.match(await post(plain), { status: 200 });
  }
});

t.test('[F-526] a notification that is nested more than 10,000 levels deep is refused', async (t) => {
  const { post, received } = await start(t);
  const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
  const body = (levels: number): string => JSON.stringify({ ...plain, x: 0 }).replace('"x":0', `"x":${nested(levels)}`);
  const message = 'The notification is nested more than 10,000 levels deep';
  t.match(await post(body(10_000)), { status: 400, json: { error: { code: -32_600, message } } });
  t.match(await post('['.repeat(200_000)), { status: 400, json: { error: { code: -32_600, message } } });
  t.strictSame(received, []);
  t.match(await post(body(9999)), { status: 200 });
});
