import t from 'tap';
import { ArcClient, createRelay, type RelayOptions } from '../../src/index.js';
import { MAX_TIMEOUT_MS } from '../../src/values.js';

const endpoint = 'http://127.0.0.1:1/arc';
const client = new ArcClient({ endpoint });
t.teardown(() => client.close());

const relay = (options: Record<string, unknown>) => createRelay({ endpoint, ...(options as RelayOptions) });
const noFunction = ['x', 1, true, null, {}];
const counts = [
  'maxFrameBytes',
  'maxPending',
  'maxPendingBytes',
  'maxThreads',
  'maxFrameDepth',
  'maxSessions',
  'maxBufferedBytes',
  'frameRate',
  'maxBadFrames',
  'maxResponseBytes',
  'maxEventBytes',
];
const times = [
  'authenticateTimeout',
  'heartbeat',
  'idleTimeout',
  'maxSessionAge',
  'sendTimeout',
  'streamIdleTimeout',
  'streamTimeout',
  'stalledTimeout',
  'drainTimeout',
  'cleanupTimeout',
];

/** Values that an option must not have. */
const WRONG: Record<string, unknown[]> = {
  client: [{}, null, 'http://x', { call() {} }],
  endpoint: ['not a URL', 'ftp://x/', 'http://user:secret@x/', 1, null],
  token: [1, null, {}, true],
  requestAgent: ['', 1],
  headers: [1, null],
  dispatcher: [{}, 1],
  cookies: ['route', 1, null, [1], {}],
  keepAliveTimeout: [0, -1, Number.NaN, '1', null, true, MAX_TIMEOUT_MS + 1],
  allowedHosts: ['localhost', [1], ['*'], [''], ['http://localhost'], new Set(['localhost']), null, true],
  trustProxy: ['true', 1, null],
  refuseWith: ['', 'closed', true, null],
  protocols: ['a', [1], ['a b'], [''], null, true],
  resume: ['true', 1, null, []],
  identity: [1, null, 'x', { key: 1 }, { name() {} }],
  cluster: [1, null, {}, { store: {} }],
  agents: ['support', [1], ['a', null], new Set([1]), {}, null, 1],
  sessionToken: noFunction,
  authorize: noFunction,
  route: noFunction,
  authenticate: noFunction,
  allowedOrigins: [
    'https://a',
    [1],
    ['example.com'],
    ['*'],
    [''],
    ['localhost:3000'],
    new Set(['https://a']),
    null,
    true,
  ],
  stream: ['true', 1, null],
  replies: ['', 'Bare', true, null],
  busy: ['', 'wait', true, null],
  onDisconnect: ['', 'end', true, null],
  logger: [{}, null, 1, { info() {}, warn() {}, error() {} }, { debug() {}, info() {}, warn() {}, error: true }],
  hooks: [null, 1, 'x', { onOpen: 1 }, { onopen() {} }, { onOpen() {}, onMessage() {} }],
  ...Object.fromEntries(counts.map((name) => [name, [0, -1, Number.NaN, '1', null, true, [1]]])),
  ...Object.fromEntries(
    times.map((name) => [name, [-1, Number.NaN, '1', null, true, Number.POSITIVE_INFINITY, MAX_TIMEOUT_MS + 1]]),
  ),
};

t.test('a wrong option is a TypeError that names it', async (t) => {
  for (const [name, values] of Object.entries(WRONG)) {
    for (const value of values) {
      const what = `${name}: ${JSON.stringify(value) ?? String(value)}`;
      t.throws(() => relay({ [name]: value }), { name: 'TypeError', message: new RegExp(`^${name}: .`) }, what);
    }
  }
});

t.test('an unknown option is a TypeError', async (t) => {
  for (const name of ['maxFrameByte', 'onOpen', 'path', 'constructor', '__proto__x', 'toString']) {
    t.throws(() => relay({ [name]: 1 }), { name: 'TypeError', message: `${name}: is not an option of the relay` });
  }
});

t.test('a relay needs an endpoint or a client', async (t) => {
  t.throws(() => createRelay({} as never), { name: 'TypeError', message: /^endpoint: is missing/ });
});

t.test('options of the client cannot be passed beside a client', async (t) => {
  const owned = {
    endpoint,
    requestAgent: 'x',
    headers: {},
    dispatcher: {},
    token: 'secret',
    cookies: true,
    keepAliveTimeout: 1000,
    maxResponseBytes: 1000,
    maxEventBytes: 1000,
  };
  for (const [name, value] of Object.entries(owned)) {
    const options = { client, ...({ [name]: value } as RelayOptions) };
    t.throws(() => createRelay(options), {
      name: 'TypeError',
      message: `${name}: is an option of the client, which was passed`,
    });
  }
  t.throws(() => createRelay({ client, token: () => 'shared' }), TypeError);
  t.doesNotThrow(() => createRelay({ client, sessionToken: () => 'of the session' }));
});

t.test(
  'authorization among the headers beside a token, of all sessions or of each, is a TypeError [F-496]',
  async (t) => {
    const headers = { Authorization: 'Basic eA==' };
    for (const token of [{ token: 'secret' }, { token: () => 'secret' }, { sessionToken: () => 'secret' }]) {
      const message = /^headers: has authorization beside /;
      t.throws(() => relay({ headers, ...token }), { name: 'TypeError', message }, Object.keys(token).join());
      t.doesNotThrow(() => relay({ headers: { 'x-own': '1' }, ...token }));
    }
    t.doesNotThrow(() => relay({ headers }));
  },
);

t.test('undefined is the same as nothing', async (t) => {
  const names = Object.keys(WRONG).filter((name) => name !== 'endpoint');
  t.doesNotThrow(() => relay(Object.fromEntries(names.map((name) => [name, undefined]))));
});

t.test('every option has its default', async (t) => {
  const { client, logger, ...config } = relay({}).config;
  t.ok(client instanceof ArcClient);
  t.match(logger, { debug: Function, info: Function, warn: Function, error: Function });
  t.strictSame(config, {
    ownsClient: true,
    sessionToken: undefined,
    isAgentAllowed: undefined,
    route: undefined,
    keepAliveTimeout: 1500,
    maxResponseBytes: 16_777_216,
    maxEventBytes: 16_777_216,
    authenticate: undefined,
    authenticateTimeout: 10_000,
    authorize: undefined,
    allowedHosts: undefined,
    allowedOrigins: undefined,
    trustProxy: false,
    protocols: ['arc-thread.v1'],
    refuseWith: 'status',
    identity: undefined,
    cluster: undefined,
    stream: false,
    bare: false,
    busy: 'queue',
    onDisconnect: 'cancel',
    maxFrameBytes: 1_048_576,
    maxFrameDepth: 64,
    maxPending: 32,
    maxThreads: 64,
    maxSessions: Number.POSITIVE_INFINITY,
    maxBufferedBytes: 1_048_576,
    resume: undefined,
    maxPendingBytes: 4_194_304,
    frameRate: Number.POSITIVE_INFINITY,
    maxBadFrames: 16,
    heartbeat: 25_000,
    idleTimeout: 0,
    maxSessionAge: 0,
    sendTimeout: 60_000,
    streamIdleTimeout: 60_000,
    streamTimeout: 0,
    stalledTimeout: 60_000,
    drainTimeout: 5000,
    cleanupTimeout: 5000,
    hooks: {},
  });
  t.strictSame(relay({ resume: true }).config.resume, {
    grace: 120_000,
    maxBufferedBytes: 1_048_576,
    maxDetached: 10_000,
    maxDetachedBytes: 268_435_456,
  });
  t.equal(relay({ maxFrameBytes: 5_000_000 }).config.maxPendingBytes, 5_000_000);
});

t.test('the right values are taken as they are', async (t) => {
  const numbers = Object.fromEntries([...counts, ...times].map((name, index) => [name, 100 + index]));
  t.match(relay(numbers).config, numbers);
  for (const value of [0, MAX_TIMEOUT_MS]) {
    const limits = Object.fromEntries(times.map((name) => [name, value]));
    t.match(relay(limits).config, limits);
  }
  t.match(relay({ stream: true, replies: 'bare', busy: 'interrupt' }).config, {
    stream: true,
    bare: true,
    busy: 'interrupt',
  });
  t.equal(createRelay({ client }).config.client, client);
  t.doesNotThrow(() =>
    relay({ replies: 'frames', agents: [], allowedOrigins: [], hooks: { onOpen: undefined, onEnd() {} } }),
  );
  t.doesNotThrow(() => relay({ agents: new Set(), allowedOrigins: ['https://a.example', 'http://localhost:3000'] }));
});

t.test('wsOptions limit the size of frames on a server whose sockets are attached', async (t) => {
  t.match(relay({ maxFrameBytes: 77 }).wsOptions, { maxPayload: 77, perMessageDeflate: false, maxFragments: 65 });
});

t.test('an endpoint function without agents and authorize is warned of at start-up', async (t) => {
  const warned = (more: object): string[] => {
    const messages: string[] = [];
    const nothing = (): void => {};
    const warn = (_about: object, message: string): void => void messages.push(message);
    const logger = { debug: nothing, info: nothing, warn, error: nothing };
    createRelay({ endpoint: (id) => `http://127.0.0.1:1/agents/${id}/arc`, logger, ...more });
    return messages;
  };
  const message = 'endpoint is a function of an agent id that clients choose, and neither agents nor authorize is set';
  t.strictSame(warned({}), [message]);
  t.strictSame(warned({ agents: ['support'] }), []);
  t.strictSame(warned({ authorize: () => true }), []);
  t.strictSame(warned({ endpoint: 'http://127.0.0.1:1/arc' }), []);
});

t.test('[F-523] a time that is too long is refused with the range that it may be in', (t) => {
  const range = 'must be a number from 0 to 2147483647';
  t.throws(() => relay({ resume: { grace: Number.POSITIVE_INFINITY } }), new TypeError(`resume.grace: ${range}`));
  t.throws(() => relay({ sendTimeout: Number.POSITIVE_INFINITY }), new TypeError(`sendTimeout: ${range}`));
  t.throws(
    () => relay({ resume: { maxDetached: -1 } }),
    new TypeError('resume.maxDetached: must be a number of at least 0'),
  );
  t.end();
});
