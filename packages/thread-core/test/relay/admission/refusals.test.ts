import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t from 'tap';
import { type Admission, createRelay, type RefusalReport } from '../../../src/index.js';
import { LogLimiter } from '../../../src/log-limiter.js';
import { Client, deferred, to, withDeadline, world } from '../helpers.js';
import { admissionServer } from './admission-server.js';

const accepted = { identity: undefined };
const wrongHost = { refused: { reason: 'host', status: 403, closeCode: 4403, message: 'This host is not allowed' } };
const wrongOrigin = { refused: { reason: 'origin', status: 403 } };

t.test('a Host that is not in allowedHosts is refused before any other check, and named in the log', async (t) => {
  const { ask, log } = await admissionServer(t, {
    allowedHosts: ['localhost', '127.0.0.1', '[::1]', 'example.com:8443'],
    allowedOrigins: () => t.fail('the origin was checked'),
    authenticate: () => true,
  });
  for (const host of ['localhost', 'LOCALHOST:3000', '127.0.0.1:1', '[::1]:3000', 'example.com:8443']) {
    t.strictSame(await ask({ host }), { identity: true }, host);
  }
  const others = [
    'evil.example',
    'evil.example:3000',
    'localhost.evil.example',
    'example.com',
    'example.com:1',
    '::1',
    'x@localhost',
  ];
  for (const host of others) {
    // DNS rebinding: the page is of the same origin, as far as the browser knows.
    t.strictSame(await ask({ host, origin: `http://${host}` }), wrongHost, host);
  }
  t.match(log.at('warn')[0], {
    about: { host: 'evil.example', origin: 'http://evil.example', reason: 'host', status: 403 },
    message: /allowedHosts/,
  });
});

t.test('a request without a Host is refused if allowedHosts is set', async (t) => {
  const relay = createRelay({ endpoint: 'http://127.0.0.1:1/arc', allowedHosts: ['localhost'] });
  const admissions: Admission[] = [];
  const server = createServer(async (request, response) => {
    admissions.push(await relay.admit(request));
    response.end();
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.end('GET / HTTP/1.0\r\n\r\n');
  socket.resume();
  await withDeadline(once(socket, 'close'), 'the answer');
  t.strictSame(admissions, [wrongHost]);
});

t.test('apps in a web view have origins of their own schemes', async (t) => {
  const { ask } = await admissionServer(t, { allowedOrigins: ['capacitor://localhost', 'tauri://localhost'] });
  t.strictSame(await ask({ origin: 'capacitor://localhost' }), accepted);
  t.strictSame(await ask({ origin: 'tauri://localhost' }), accepted);
  for (const origin of ['ionic://localhost', 'capacitor://elsewhere', 'capacitor:localhost']) {
    t.match(await ask({ origin, host: 'localhost' }), wrongOrigin, origin);
  }
});

t.test('wrong hosts and origins, and patterns, are TypeErrors that say what to do', async (t) => {
  const endpoint = 'http://127.0.0.1:1/arc';
  for (const origin of ['*', 'https://*.example.com', 'localhost:3000', 'null', 'file://', '']) {
    const message = /^allowedOrigins: .*function/;
    t.throws(() => createRelay({ endpoint, allowedOrigins: [origin] }), { name: 'TypeError', message }, origin);
  }
  for (const host of ['*', '*.example.com', 'http://localhost', 'localhost/', 'a b', 'x@localhost', '']) {
    const message = /^allowedHosts: /;
    t.throws(() => createRelay({ endpoint, allowedHosts: [host] }), { name: 'TypeError', message }, host);
  }
});

t.test("trustProxy compares the origin with the proxy's X-Forwarded-Host, else it is ignored", async (t) => {
  const headers = { origin: 'https://app.example', 'x-forwarded-host': 'app.example, inner.example' };
  const trusting = await admissionServer(t, { trustProxy: true });
  t.strictSame(await trusting.ask(headers), accepted);
  t.strictSame(await trusting.ask({ origin: `http://${trusting.host}` }), accepted, 'without the header: Host');
  t.match(await trusting.ask({ ...headers, origin: 'https://inner.example' }), wrongOrigin);
  const plain = await admissionServer(t, {});
  t.match(await plain.ask(headers), wrongOrigin);
  t.match(plain.log.at('warn'), [
    {
      about: { reason: 'origin', origin: 'https://app.example', host: plain.host },
      message: /trustProxy.*|allowedOrigins/,
    },
  ]);
});

t.test('a refused origin is logged with the host that it was compared with [F-495]', async (t) => {
  const headers = { origin: 'https://other.example', 'x-forwarded-host': 'app.example' };
  const trusting = await admissionServer(t, { trustProxy: true });
  await trusting.ask(headers);
  t.match(trusting.log.at('warn'), [{ about: { origin: 'https://other.example', host: 'app.example' } }]);
  const known = await admissionServer(t, {}, 'framework.example');
  t.strictSame(await known.ask({ origin: 'https://framework.example' }), accepted);
  t.match(await known.ask(headers), wrongOrigin);
  t.match(known.log.at('warn'), [{ about: { origin: 'https://other.example', host: 'framework.example' } }]);
});

t.test('an authenticate that does not settle is refused with 503 after authenticateTimeout', async (t) => {
  const { ask, relay } = await admissionServer(t, {
    authenticateTimeout: 20,
    authenticate: () => new Promise(() => {}),
  });
  t.match(await ask(), { refused: { reason: 'timeout', status: 503, closeCode: 1013 } });
  t.equal(relay.stats().refused.timeout, 1);
  const all = await world(t, { attach: {}, authenticateTimeout: 20, authenticate: () => new Promise(() => {}) });
  const client = await all.connect();
  t.equal((await client.closed).code, 1013, 'also after the upgrade');
});

t.test('what authenticate gives too late, even a failure, changes nothing', async (t) => {
  const late = deferred<unknown>();
  const { ask } = await admissionServer(t, { authenticateTimeout: 10, authenticate: () => late.promise });
  t.match(await ask(), { refused: { reason: 'timeout' } });
  late.reject(new Error('too late'));
  await new Promise((resolve) => setImmediate(resolve));
});

t.test(
  'a connection takes its slot of maxSessions while it is authenticated, and gives it back when it leaves',
  async (t) => {
    let isHeld = true;
    const asked: (() => void)[] = [];
    const arrived = deferred();
    const all = await world(t, {
      attach: {},
      maxSessions: 1,
      authenticate: () => {
        if (!isHeld) return true;
        arrived.resolve();
        return new Promise<boolean>((resolve) => asked.push(() => resolve(true)));
      },
      server: {
        verifyClient: ({ req }, done) => void all.relay.admit(req).then((admission) => done('identity' in admission)),
      },
    });
    const first = new Client(all.url);
    await arrived.promise;
    const second = new Client(all.url);
    t.equal((await second.closed).code, 1006, 'refused, though there is no session yet');
    t.match(all.relay.stats(), { sessions: 0, refused: { capacity: 1 } });
    first.socket.terminate();
    isHeld = false;
    // The relay learns of the end of the first in its own time.
    let third = new Client(all.url);
    while ((await Promise.race([once(third.socket, 'open').then(() => 'open'), third.closed])) !== 'open') {
      third = new Client(all.url);
    }
    t.equal(all.relay.stats().sessions, 1);
    t.equal(asked.length, 1);
    t.notOk(Object.hasOwn(all.relay.stats().refused, 'disconnected'), 'who left was not refused');
    third.socket.terminate();
  },
);

t.test('hooks.onRefuse and stats().refused tell of each refusal, with the status or the close code', async (t) => {
  const told: Omit<RefusalReport, 'request'>[] = [];
  const hooks = {
    onRefuse: ({ request, ...rest }: RefusalReport): void => {
      told.push(rest);
      if (request.headers.origin !== undefined) throw new Error('the hook fails');
    },
  };
  const { ask, relay, log } = await admissionServer(t, { hooks, authenticate: () => null });
  await ask();
  await ask({ origin: 'http://evil.example' });
  t.strictSame(told, [
    { reason: 'authentication', status: 401 },
    { reason: 'origin', status: 403 },
  ]);
  t.match(relay.stats().refused, { authentication: 1, origin: 1, host: 0, capacity: 0, shutdown: 0, timeout: 0 });
  t.match(log.at('error'), [{ message: 'the hook onRefuse threw' }]);
  told.length = 0;
  const all = await world(t, { attach: {}, hooks, authenticate: () => null });
  t.equal((await (await all.connect()).closed).code, 4401);
  t.strictSame(told, [{ reason: 'authentication', closeCode: 4401 }]);
});

t.test('refuseWith close accepts the upgrade, and closes it with the code of the refusal', async (t) => {
  const told: unknown[] = [];
  const all = await world(t, {
    attach: {},
    refuseWith: 'close',
    maxSessions: 1,
    authenticate: ({ headers }) => headers.authorization !== 'nobody',
    hooks: { onRefuse: ({ reason, status, closeCode }) => void told.push([reason, status ?? closeCode]) },
    // The host accepts whatever the decision is: `attach` knows it.
    server: { verifyClient: ({ req }, done) => void all.relay.admit(req).then(() => done(true)) },
  });
  const code = async (headers: Record<string, string>): Promise<number> =>
    (await (await all.connect({ headers })).closed).code;
  t.equal(await code({ origin: 'http://evil.example' }), 4403);
  t.equal(await code({ authorization: 'nobody' }), 4401);
  const client = await all.connect();
  t.equal((await client.ask(to('a'))).type, 'response', 'those that were refused take no slot');
  t.equal(await code({}), 1013);
  t.strictSame(told, [
    ['origin', 4403],
    ['authentication', 4401],
    ['capacity', 1013],
  ]);
});

t.test(
  'a log line of one kind is written ten times a minute, and then with the number of those left out',
  async (t) => {
    const limiter = new LogLimiter(2);
    t.strictSame(
      [0, 1, 2, 3].map((now) => limiter.take('a', now)),
      [0, 0, undefined, undefined],
    );
    t.equal(limiter.take('b', 3), 0, 'kinds do not count for each other');
    t.equal(limiter.take('a', 60_000), 2);
    t.equal(limiter.take('a', 60_001), 0);
  },
);

t.test('clients that are not authenticated do not hide from the log that authenticate throws [F-143]', async (t) => {
  let isDown = false;
  const { ask, log } = await admissionServer(t, {
    authenticate: () => {
      if (isDown) throw new Error('the database is down');
      return null;
    },
  });
  for (let asked = 0; asked < 12; asked += 1) await ask();
  t.equal(log.at('warn').length, 10);
  isDown = true;
  await ask();
  t.match(log.at('warn')[10], { message: /authenticate threw/, about: { err: { message: 'the database is down' } } });
});
