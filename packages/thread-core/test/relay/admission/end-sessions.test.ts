import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { createRelay, type Relay, type RelayOptions } from '../../../src/index.js';
import { AdmissionControl } from '../../../src/relay/admission/admission.js';
import { SignedOutUsers } from '../../../src/relay/admission/signed-out-users.js';
import type { RelayConfig } from '../../../src/relay/options.js';
import { startTestAgent } from '../../../src/testing/index.js';
import { deferred, Log, withDeadline, world } from '../helpers.js';

interface Waiting {
  user: string;
  answer(): void;
}

/** An `authenticate` that waits to be told to answer with the user that the request names. */
function slowAuthentication() {
  const waiting: Waiting[] = [];
  let look = (): void => {};
  const authenticate = async ({ headers }: IncomingMessage): Promise<unknown> => {
    const { promise, resolve } = deferred();
    const user = String(headers.user);
    waiting.push({ user, answer: () => resolve(undefined) });
    look();
    await promise;
    return { id: user };
  };
  const arrived = (count: number): Promise<void> =>
    withDeadline(
      new Promise((resolve) => {
        look = () => waiting.length >= count && resolve();
        look();
      }),
      `${count} connections to be authenticated`,
    );
  return { authenticate, waiting, arrived };
}

type Upgrade = (relay: Relay, ...args: Parameters<Relay['handleUpgrade']>) => unknown;

/** A relay behind a node:http server. Gives a function that connects, and resolves to `open` or the HTTP status. */
async function serve(t: Test, options: Partial<RelayOptions>, upgrade: Upgrade) {
  const agent = await startTestAgent();
  const log = new Log();
  const relay = createRelay({ endpoint: agent.endpoint, logger: log, ...options });
  const server = createServer();
  server.on('upgrade', (request, socket, head) => upgrade(relay, request, socket, head));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(async () => {
    await relay.close();
    server.closeAllConnections();
    server.close();
    await agent.close();
  });
  const { port } = server.address() as AddressInfo;
  const connect = (user: string) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, { headers: { user } });
    const opened = new Promise<unknown>((resolve) => {
      socket.on('open', () => resolve('open'));
      socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode));
      socket.on('error', () => {});
    });
    const closed = new Promise<string>((resolve) => {
      socket.on('close', (code, reason) => resolve(`${code} ${reason}`));
    });
    t.teardown(() => socket.terminate());
    return { opened: withDeadline(opened, 'an answer to the upgrade'), closed };
  };
  return { relay, connect, log };
}

t.test('endSessions refuses connections of the user that are being authenticated [F-410]', async (t) => {
  const { authenticate, waiting, arrived } = slowAuthentication();
  const { relay, connect } = await serve(t, { authenticate }, (relay, ...args) => relay.handleUpgrade(...args));
  const ann = connect('ann');
  const bob = connect('bob');
  await arrived(2);
  await relay.endSessions('ann');
  const later = connect('ann');
  await arrived(3);
  for (const { answer } of waiting) answer();
  t.equal(await ann.opened, 401);
  t.equal(await bob.opened, 'open', 'other users are admitted');
  t.equal(await later.opened, 'open', 'so is the user, on a connection that came later');
  t.equal(relay.stats().refused.authentication, 1);
});

t.test('endSessions closes connections of the user that are authenticated after the upgrade [F-410]', async (t) => {
  const { authenticate, waiting, arrived } = slowAuthentication();
  const { relay, connect } = await world(t, { authenticate, attach: {} });
  const ann = await connect({ headers: { user: 'ann' } });
  await arrived(1);
  await relay.endSessions('ann');
  waiting[0]?.answer();
  t.match(await ann.closed, { code: 4401, reason: 'Not authenticated' });
});

t.test('endSessions misses no connection, at whatever moment of its authentication it is called [F-410]', async (t) => {
  for (let moment = 0; moment < 30; moment++) {
    const { authenticate, waiting, arrived } = slowAuthentication();
    const { relay, connect } = await world(t, { authenticate, attach: {} });
    const ann = await connect({ headers: { user: 'ann' } });
    await arrived(1);
    waiting[0]?.answer();
    for (let microtask = 0; microtask < moment; microtask++) await undefined;
    await relay.endSessions('ann');
    t.match(await withDeadline(ann.closed, `the close, ${moment} microtasks later`), { code: 4401 });
  }
});

t.test('endSessions closes connections of the user that are admitted and not yet open [F-410]', async (t) => {
  const admitted = deferred();
  const go = deferred();
  const webSockets = new WebSocketServer({ noServer: true });
  const options = { authenticate: ({ headers }: IncomingMessage) => headers.user, maxSessions: 1 };
  const { relay, connect } = await serve(t, options, async (relay, request, socket, head) => {
    await relay.admit(request);
    admitted.resolve(undefined);
    await go.promise;
    webSockets.handleUpgrade(request, socket, head, (webSocket) => relay.attach(webSocket, request));
  });
  const ann = connect('ann');
  await admitted.promise;
  await relay.endSessions('ann');
  go.resolve(undefined);
  t.equal(await withDeadline(ann.closed, 'the close'), '4401 Not authenticated');
  t.equal(await connect('ann').opened, 'open', 'its slot of maxSessions is free again');
});

t.test('endSessions rejects a key that is not a string, which would match no user', async (t) => {
  const { relay, connect } = await serve(t, { authenticate: () => ({ id: 7 }) }, (relay, ...args) =>
    relay.handleUpgrade(...args),
  );
  const client = connect('ann');
  await client.opened;
  for (const key of [7, undefined, null, { id: 7 }]) {
    await t.rejects(relay.endSessions(key as never), new TypeError('endSessions: the key must be a string'));
  }
  await relay.endSessions('7');
  t.equal(await withDeadline(client.closed, 'the close'), '4401 Signed out');
});

t.test('users whose sessions were ended are kept only for the connections that were waiting then', (t) => {
  const users = new SignedOutUsers();
  users.add('ann');
  t.equal(users.size, 0, 'no user waits');
  const first = users.wait();
  for (let end = 0; end < 3; end += 1) users.add('ann');
  const second = users.wait();
  users.add('bob');
  t.equal(users.size, 2);
  t.strictSame([users.has(first, 'ann'), users.has(first, 'bob'), users.has(first, 'cat')], [true, true, false]);
  t.strictSame([users.has(second, 'ann'), users.has(second, 'bob')], [false, true]);
  users.leave(first);
  t.equal(users.size, 1);
  users.leave(second);
  t.equal(users.size, 0);
  t.end();
});

t.test('a connection whose check throws after the upgrade does not stay among those that wait [F-410]', async (t) => {
  const asked: unknown[] = [];
  const config = { authenticate: () => 'bob', trustProxy: false, authenticateTimeout: 0 } as unknown as RelayConfig;
  const control = new AdmissionControl(config, (identity) => {
    asked.push(identity);
    return String(identity);
  });
  const broken = {} as IncomingMessage;
  const decided: unknown[] = [];
  const onDecided = (admission: unknown): void => void decided.push(admission);
  await t.rejects(control.checkAdmission(broken, undefined, undefined, onDecided), TypeError);
  control.refuseUser('ann');
  const request = { headers: {} } as IncomingMessage;
  await control.checkAdmission(request, undefined, undefined, onDecided);
  t.strictSame(decided, [{ identity: 'bob' }]);
  t.strictSame(asked, [], 'no end of a user is remembered');
});

t.test('[F-521] endSessions asks for no key of a connection whose identity is not known yet', async (t) => {
  const { authenticate, waiting, arrived } = slowAuthentication();
  const asked: unknown[] = [];
  const key = (identity: unknown): string => {
    asked.push(identity);
    return (identity as { id: string }).id;
  };
  const { relay, connect, log } = await world(t, { authenticate, attach: {}, identity: { key } });
  const ann = await connect({ headers: { user: 'ann' } });
  await arrived(1);
  await relay.endSessions('bob');
  t.strictSame([asked, log.at('error')], [[], []]);
  waiting[0]?.answer();
  await ann.rest();
  await relay.endSessions('ann');
  t.match(await ann.closed, { code: 4401, reason: 'Signed out' });
  t.ok(asked.every((identity) => identity !== undefined));
});
