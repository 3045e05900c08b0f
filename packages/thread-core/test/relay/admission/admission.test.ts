import t from 'tap';
import type { ArcClient, RelayOptions } from '../../../src/index.js';
import { to, world } from '../helpers.js';
import { admissionServer } from './admission-server.js';

const refusedOrigin = {
  refused: { reason: 'origin', status: 403, closeCode: 4403, message: 'This origin is not allowed' },
};
const notAuthenticated = {
  refused: { reason: 'authentication', status: 401, closeCode: 4401, message: 'Not authenticated' },
};
const admitted = { identity: undefined };

t.test('without allowedOrigins: the same origin, and clients that send none', async (t) => {
  const { ask, host } = await admissionServer(t, {});
  t.strictSame(await ask(), admitted, 'a program');
  t.strictSame(await ask({ origin: `http://${host}` }), admitted);
  t.strictSame(await ask({ origin: `https://${host}` }), admitted, 'behind a proxy the scheme is another');
  t.strictSame(await ask({ origin: 'http://example.com', host: 'example.com' }), admitted);
  t.strictSame(await ask({ origin: 'https://example.com', host: 'example.com:443' }), admitted, 'the default port');
  t.strictSame(await ask({ origin: 'http://EXAMPLE.com', host: 'example.COM' }), admitted);
  const others = ['http://evil.example', `http://${host}.evil.example`, `http://evil.${host}`, 'http://127.0.0.1:1'];
  const odd = ['null', '', 'x', 'file://', 'about:blank', '//', `${host}`, `http://${host}, http://${host}`];
  for (const origin of [...others, ...odd]) t.strictSame(await ask({ origin }), refusedOrigin, JSON.stringify(origin));
});

t.test('a list of origins adds to the own one', async (t) => {
  const { ask, host } = await admissionServer(t, { allowedOrigins: ['https://app.example', 'http://localhost:3000/'] });
  const good = ['https://app.example', 'https://app.example:443', 'http://localhost:3000', `http://${host}`];
  for (const origin of good) t.strictSame(await ask({ origin }), admitted, origin);
  const bad = [
    'http://app.example',
    'https://app.example:444',
    'https://sub.app.example',
    'http://localhost',
    'null',
    'x',
  ];
  for (const origin of bad) t.strictSame(await ask({ origin }), refusedOrigin, origin);
  t.strictSame(await ask(), admitted);
});

t.test('an allowedOrigins function decides alone about every request with an Origin', async (t) => {
  const asked: unknown[] = [];
  const { ask, host } = await admissionServer(t, {
    allowedOrigins: (origin, req) => {
      asked.push([origin, req.url]);
      return (origin === 'null' ? true : origin === 'x' ? 'yes' : undefined) as boolean;
    },
  });
  t.strictSame(await ask({ origin: 'null' }), admitted);
  t.strictSame(await ask({ origin: `http://${host}` }), refusedOrigin, 'the own origin, too');
  t.strictSame(await ask({ origin: 'x' }), refusedOrigin, 'only true is a yes');
  t.strictSame(await ask(), admitted, 'a program without an Origin is not checked');
  t.strictSame(asked, [
    ['null', '/'],
    [`http://${host}`, '/'],
    ['x', '/'],
  ]);
});

t.test('an origin function that throws refuses the connection', async (t) => {
  const { ask, log } = await admissionServer(t, {
    allowedOrigins: () => {
      throw new Error('broken');
    },
  });
  t.match(await ask({ origin: 'http://a' }), { refused: { status: Number } });
  t.match(log.lines, [{ level: 'warn', about: { err: { message: 'broken' } } }]);
});

t.test('an origin function that is async refuses the connection, and says why', async (t) => {
  const allowedOrigins = (async () => {
    throw new Error('broken');
  }) as never;
  const { ask, log } = await admissionServer(t, { allowedOrigins });
  t.match(await ask({ origin: 'http://a' }), { refused: { status: Number } });
  const message = 'allowedOrigins: the function must not be async';
  t.match(log.lines, [{ level: 'warn', about: { err: { name: 'TypeError', message } } }]);
});

t.test('authenticate gives the identity, or refuses; it knows the request and the context', async (t) => {
  const answers: unknown[] = [{ user: 1 }, 0, '', true, null, undefined, false];
  const asked: unknown[] = [];
  const { ask } = await admissionServer(t, {
    authenticate: (req, context) => {
      asked.push([req.headers['x-key'], context]);
      const answer = answers.shift();
      return answers.length % 2 === 0 ? answer : Promise.resolve(answer);
    },
  });
  t.strictSame(await ask({ 'x-key': 'k' }), { identity: { user: 1 } });
  for (const identity of [0, '', true]) t.strictSame(await ask(), { identity });
  for (const _nobody of [null, undefined, false]) t.strictSame(await ask(), notAuthenticated);
  t.strictSame(asked[0], ['k', 'context']);
});

t.test('an authenticate that throws refuses with its statusCode, else 401, and is logged [F-143]', async (t) => {
  const thrown: [error: unknown, status: number, closeCode: number, message?: string][] = [
    [new Error('x'), 401, 4401],
    [Object.assign(new Error('Pay first'), { statusCode: 402 }), 402, 4401, 'Pay first'],
    [Object.assign(new Error(''), { statusCode: 403 }), 403, 4403],
    [Object.assign(new Error('x'), { statusCode: 429 }), 429, 4401, 'x'],
    [Object.assign(new Error('x'), { statusCode: 503 }), 503, 1013, 'Authentication failed'],
    [Object.assign(new Error('x'), { statusCode: 500 }), 500, 1011, 'Authentication failed'],
    [Object.assign(new Error('x'), { statusCode: 200 }), 401, 4401],
    [Object.assign(new Error('x'), { statusCode: 600 }), 401, 4401],
    [Object.assign(new Error('x'), { statusCode: '403' }), 401, 4401],
    [Object.assign(new Error('x'), { statusCode: 401.5 }), 401, 4401],
    ['text', 401, 4401],
    [undefined, 401, 4401],
    [null, 401, 4401],
  ];
  let current: unknown;
  let isAsync = false;
  const { ask, log, relay } = await admissionServer(t, {
    authenticate: () => {
      if (isAsync) return Promise.reject(current);
      throw current;
    },
  });
  for (const [error, status, closeCode, message = 'Not authenticated'] of thrown) {
    for (isAsync of [false, true]) {
      current = error;
      const refused = { reason: 'authentication', status, closeCode, message };
      t.strictSame(await ask(), { refused }, `${String(error)} ${status}`);
    }
  }
  t.equal(relay.stats().refused.authentication, thrown.length * 2);
  const message = 'refused a connection: authenticate threw an error';
  t.match(log.at('warn')[0], { about: { err: { message: 'x' } }, message });
  const lines = log.at('warn').filter((line) => line.message === message);
  t.equal(lines.length, 10, 'no more lines of one kind a minute');
});

t.test('the origin is looked at first', async (t) => {
  const { ask } = await admissionServer(t, { authenticate: () => t.fail('it was asked') });
  t.strictSame(await ask({ origin: 'http://evil.example' }), refusedOrigin);
});

t.test('a relay that is being closed refuses connections [F-2]', async (t) => {
  const { ask, relay } = await admissionServer(t, {});
  const closed = relay.close();
  const refused = { reason: 'shutdown', status: 503, closeCode: 1013, message: 'The server is shutting down' };
  t.strictSame(await ask(), { refused });
  await closed;
  t.strictSame(await ask(), { refused });
});

for (const [when, attach] of [
  ['before the upgrade', { identity: 'me' }],
  ['after the upgrade', {}],
] as const) {
  t.test(`maxSessions: one more is refused: 503, or 1013, asked ${when} [F-51] [F-114] [F-142]`, async (t) => {
    const all = await world(t, { maxSessions: 2, attach });
    const admit = () => all.relay.admit(all.request);
    const [first, second] = [await all.connect(), await all.connect()];
    t.equal((await second.ask(to('b'))).type, 'response', 'as many as allowed are accepted');
    t.strictSame(await admit(), {
      refused: { reason: 'capacity', status: 503, closeCode: 1013, message: 'Too many connections' },
    });
    const third = await all.connect();
    third.send({ type: 'ping' }, to('a'));
    t.strictSame(await third.closed, { code: 1013, reason: 'Too many connections' });
    t.strictSame(third.texts, []);
    await all.sessions[2]?.closed;
    first.socket.close();
    await all.session.closed;
    const fourth = await all.connect();
    t.equal((await fourth.ask(to('a'))).type, 'response');
  });
}

t.test('attached without an identity, the rules are the same [F-51] [F-141] [F-143] [F-144]', async (t) => {
  const cases: [options: RelayOptions, headers: Record<string, string>, code: number | 'open'][] = [
    [{}, {}, 'open'],
    [{}, { origin: 'http://evil.example' }, 4403],
    [{ allowedOrigins: ['http://good.example'] }, { origin: 'http://good.example' }, 'open'],
    [{ authenticate: () => null }, {}, 4401],
    [{ authenticate: async () => null }, {}, 4401],
    [{ authenticate: async () => 'me' }, {}, 'open'],
    [{ authenticate: () => Promise.reject(Object.assign(new Error('x'), { statusCode: 403 })) }, {}, 4403],
    [{ authenticate: () => Promise.reject(Object.assign(new Error('x'), { statusCode: 500 })) }, {}, 1011],
  ];
  for (const [options, headers, code] of cases) {
    const told: string[] = [];
    const hooks = { onOpen: () => void told.push('open'), onClose: () => void told.push('close') };
    const all = await world(t, { attach: {}, hooks, ...options });
    const client = await all.connect({ headers });
    if (code === 'open') {
      t.strictSame(await client.rest(), []);
      client.socket.close();
      await all.session.closed;
      t.strictSame(told, ['open', 'close']);
    } else {
      t.equal((await client.closed).code, code, JSON.stringify(headers));
      await all.session.closed;
      t.strictSame(told, [], 'no hook is called for a connection that was not accepted');
    }
  }
});

t.test('a socket that is attached with an identity, even undefined, is not authenticated', async (t) => {
  for (const identity of [undefined, null, { user: 1 }]) {
    const all = await world(t, { attach: { identity }, authenticate: () => t.fail('it was asked') });
    const client = await all.connect({ headers: { origin: 'http://evil.example' } });
    t.strictSame(await client.rest(), []);
    t.equal(all.session.identity, identity);
  }
});

t.test('attached with a context, authenticate gets it', async (t) => {
  const context = { user: 'ann' };
  const all = await world(t, { attach: { context }, authenticate: (_request, given) => given });
  const client = await all.connect();
  t.strictSame(await client.rest(), []);
  t.equal(all.session.identity, context);
});

t.test('a failure of the relay itself closes the connection with 1011 [F-141]', async (t) => {
  const lines: string[] = [];
  const error = (_about: object, message: string): void => void lines.push(message);
  const all = await world(t, { attach: {}, logger: { debug() {}, info() {}, warn() {}, error } });
  all.relay.checkAdmission = () => Promise.reject(new Error('the disk is full'));
  const client = await all.connect();
  client.send(to('a'));
  t.strictSame(await client.closed, { code: 1011, reason: 'The relay failed' });
  t.strictSame(lines, ['a session failed']);
  t.equal(all.agent.counters.requests, 0);
});

t.test('a request that admit accepted keeps its identity when its socket is attached', async (t) => {
  let asked = 0;
  const all = await world(t, {
    attach: {},
    authenticate: () => ({ user: ++asked }),
    server: {
      verifyClient: ({ req }, done) => void all.relay.admit(req).then((admission) => done('identity' in admission)),
    },
  });
  all.server.prependListener('connection', (socket, request) => {
    t.throws(() => all.relay.attach(socket, request, { client: {} as ArcClient }), TypeError, 'though it failed once');
  });
  const client = await all.connect();
  t.strictSame(await client.rest(), []);
  t.strictSame(all.session.identity, { user: 1 });
  t.equal(asked, 1);
});

t.test('[F-519] an origin that a function fails to check is refused as an origin, and logged as that', async (t) => {
  const broken = Object.assign(new Error('broken'), { statusCode: 500 });
  const refusals: unknown[] = [];
  const { ask, log } = await admissionServer(t, {
    allowedOrigins: () => {
      throw broken;
    },
    hooks: { onRefuse: ({ reason, status }) => void refusals.push([reason, status]) },
  });
  t.strictSame(await ask({ origin: 'http://a' }), refusedOrigin);
  t.strictSame(refusals, [['origin', 403]]);
  t.match(log.lines, [{ message: 'refused a connection: allowedOrigins threw an error', about: { err: broken } }]);
});
