import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { ArcClient, type ChatOutcome, createRelay, type RelayHooks, type ThreadEntry } from '../../src/index.js';
import { startTestAgent } from '../../src/testing/index.js';
import { Client, deferred, textOf, to, type World, world } from './helpers.js';

t.test('a plain ws server and one attach are all it takes [F-1]', async (t) => {
  const agent = await startTestAgent();
  const relay = createRelay({ endpoint: agent.endpoint });
  const http = createServer();
  const server = new WebSocketServer({ server: http });
  server.on('connection', (socket, request) => relay.attach(socket, request));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const client = new Client(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/any/path`);
  await once(client.socket, 'open');
  t.equal(textOf(await client.ask(to('a'))), 'a #1: hello');
  t.strictSame(await relay.close(), { sessions: 1, ended: 1, failed: 0 });
  http.close();
  await agent.close();
});

t.test('stats counts sessions, threads and sends', async (t) => {
  const { agent, relay, connect, ...all } = await world(t);
  t.match(relay.stats(), { sessions: 0, threads: 0, pending: 0 });
  const [one, two] = [await connect(), await connect()];
  await one.ask(to('a'));
  await one.ask(to('b'));
  const gate = agent.hold();
  two.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
  await gate.arrived;
  t.match(relay.stats(), { sessions: 2, threads: 3, pending: 2 });
  t.strictSame([...relay.sessions], all.sessions);
  gate.release();
  await two.all(2);
  t.match(relay.stats(), { sessions: 2, threads: 3, pending: 0 });
  for (const { socket } of [one, two]) socket.close();
  await Promise.all(all.sessions.map(({ closed }) => closed));
  t.match(relay.stats(), { sessions: 0, threads: 0, pending: 0 });
});

t.test('hooks tell of connections and chats', async (t) => {
  const told: unknown[][] = [];
  const hooks: RelayHooks = {
    onOpen: (session) => void told.push(['open', session]),
    onStart: (session, { agentId, contextId, chatId }) =>
      void told.push(['start', session, agentId, contextId, chatId]),
    onRestart: (session, { agentId, chatId }) => void told.push(['restart', session, agentId, chatId]),
    onEnd: (session, { agentId, chatId, ok }) => void told.push(['end', session, agentId, chatId, ok]),
    onClose: (session, outcomes) => void told.push(['close', session, outcomes.length]),
  };
  const all = await world(t, { hooks });
  const client = await all.connect();
  await client.ask(to('a', 'x', { context_id: 'c' }));
  all.agent.forget();
  await client.ask(to('a', 'x', { context_id: 'c' }));
  await client.ask(to('b'));
  await client.ask({ type: 'end', agent_id: 'b' });
  client.socket.close();
  await all.session.closed;
  const ids = all.agent.requests.filter(({ method }) => method === 'chat.start').map(({ chatId }) => chatId);
  t.strictSame(
    told.map(([name, session, ...about]) => [name, session === all.session, ...about]),
    [
      ['open', true],
      ['start', true, 'a', 'c', ids[0]],
      ['start', true, 'a', 'c', ids[1]],
      ['restart', true, 'a', ids[1]],
      ['start', true, 'b', undefined, ids[2]],
      ['end', true, 'b', ids[2], true],
      ['end', true, 'a', ids[1], true],
      ['close', true, 1],
    ],
  );
});

t.test('a hook that throws is logged and changes nothing', async (t) => {
  const fail = (): never => {
    throw new Error('a broken hook');
  };
  const hooks = { onOpen: fail, onStart: fail, onRestart: fail, onEnd: fail, onClose: fail };
  const all = await world(t, { hooks });
  const client = await all.connect();
  t.equal(textOf(await client.ask(to('a'))), 'a #1: hello');
  all.agent.forget();
  t.equal(textOf(await client.ask(to('a'))), 'a #1: hello');
  client.socket.close();
  t.match(await all.session.closed, [{ ok: true }]);
  t.equal(all.relay.sessions.size, 0);
  const lines = all.log.at('error');
  t.ok(lines.every(({ about }) => (about.err as Error).message === 'a broken hook'));
  t.strictSame(
    lines.map(({ message }) => message),
    ['onOpen', 'onStart', 'onStart', 'onRestart', 'onEnd', 'onClose'].map((name) => `the hook ${name} threw`),
  );
});

t.test('onOpen is called with the identity, before any frame is read', async (t) => {
  const asked = deferred<unknown>();
  const told: unknown[] = [];
  const all = await world(t, {
    attach: {},
    authenticate: () => asked.promise,
    hooks: { onOpen: ({ identity, id }) => void told.push([identity, id]), onStart: () => void told.push('start') },
  });
  const client = await all.connect();
  client.send(to('a'));
  await all.received(1);
  asked.resolve('me');
  await client.answer();
  t.strictSame(told, [['me', all.session.id], 'start']);
});

t.test('a failed socket is one line in the log, a closed one a line for debugging', async (t) => {
  const all = await world(t);
  const closed = await all.connect();
  closed.socket.close(1000);
  await all.sessions[0]?.closed;
  const lost = await all.connect();
  lost.socket.terminate();
  await all.sessions[1]?.closed;
  const failed = await all.connectRaw();
  failed.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  failed.end();
  await all.sessions[2]?.closed;
  t.match(all.log.lines, [
    { level: 'debug', message: 'a connection was closed', about: { session: all.sessions[0]?.id, code: 1000 } },
    { level: 'info', message: 'a connection was lost', about: { session: all.sessions[1]?.id, code: 1006 } },
    { level: 'warn', message: 'a connection failed', about: { session: all.sessions[2]?.id, err: Error } },
  ]);
  t.equal(all.log.lines.length, 3);
});

t.test('token is shared by all sessions, sessionToken belongs to one', async (t) => {
  const seen = ({ agent }: World) => agent.requests.map(({ headers }) => headers.authorization);
  await t.test('a string', async (t) => {
    const all = await world(t, { token: 'fixed' });
    await (await all.connect()).ask(to('a'));
    t.strictSame(seen(all), ['Bearer fixed']);
  });
  await t.test('a function, asked once and shared', async (t) => {
    let asked = 0;
    const all = await world(t, { token: () => `shared-${++asked}` });
    await (await all.connect()).ask(to('a'));
    await (await all.connect()).ask(to('a'));
    t.strictSame(seen(all), ['Bearer shared-1', 'Bearer shared-1']);
  });
  await t.test('a function of the session', async (t) => {
    const users = ['ann', 'bob'];
    const all = await world(t, {
      attach: () => ({ identity: users.shift() }),
      token: 'not this',
      sessionToken: async (session) => `of-${session.identity}`,
    });
    const [ann, bob] = [await all.connect(), await all.connect()];
    for (const client of [ann, bob, ann]) await client.ask(to('a'));
    t.strictSame(seen(all), ['Bearer of-ann', 'Bearer of-bob', 'Bearer of-ann']);
    ann.socket.close();
    await all.sessions[0]?.closed;
    t.equal(seen(all).at(-1), 'Bearer of-ann', 'its chats are ended with it, too');
  });
  await t.test('a function that takes no argument, beside a client', async (t) => {
    const agent = await startTestAgent({ token: 'of-me' });
    const client = new ArcClient({ endpoint: agent.endpoint, token: 'not this' });
    const all = await world(t, { client, sessionToken: () => 'of-me' });
    t.equal((await (await all.connect()).ask(to('a'))).type, 'response');
    await all.relay.close();
    t.equal(
      (await client.chat.start({ targetAgent: 'a', initialMessage: { role: 'user', parts: [] } }).catch((e) => e)).code,
      -44_001,
    );
    await client.close();
    await agent.close();
  });
  await t.test('a wrapped function of any arity stays what its option says', async (t) => {
    let asked = 0;
    const wrapped = (...args: unknown[]): string => `shared-${++asked}-${args.length < 2}`;
    const all = await world(t, { token: wrapped });
    await (await all.connect()).ask(to('a'));
    await (await all.connect()).ask(to('a'));
    t.strictSame(seen(all), ['Bearer shared-1-true', 'Bearer shared-1-true']);
  });
  await t.test('a refused token is requested again, once', async (t) => {
    let asked = 0;
    const all = await world(t, {
      agent: { token: (token) => token === 'good' },
      sessionToken: () => (++asked > 1 ? 'good' : 'old'),
    });
    t.equal((await (await all.connect()).ask(to('a'))).type, 'response');
    t.equal(asked, 2);
  });
});

t.test('a client for one session takes the place of that of the relay', async (t) => {
  const agent = await startTestAgent({ handler: () => 'the other agent' });
  const client = new ArcClient({ endpoint: agent.endpoint });
  let sessions = 0;
  const all = await world(t, { attach: () => (++sessions === 1 ? { identity: 1, client } : { identity: 2 }) });
  const [one, two] = [await all.connect(), await all.connect()];
  t.equal(textOf(await one.ask(to('a'))), 'the other agent');
  t.equal(textOf(await two.ask(to('a'))), 'a #1: hello');
  await all.relay.close();
  t.match(agent.counters, { started: 1, ended: 1 });
  t.match(all.agent.counters, { started: 1, ended: 1 });
  await client.close();
  await agent.close();
});

t.test('an attach with a wrong client throws, and the relay still works', async (t) => {
  const all = await world(t);
  await all.connect();
  const [socket] = all.sockets;
  t.throws(() => all.relay.attach(socket as WebSocket, all.request, { client: {} as ArcClient }), TypeError);
  t.equal(all.relay.sessions.size, 1);
});

t.test('a socket is attached once', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const [socket] = all.sockets as [WebSocket];
  t.throws(() => all.relay.attach(socket, all.request), new TypeError('socket: is attached already'));
  t.equal(all.relay.sessions.size, 1);
  t.equal(textOf(await client.ask(to('a'))), 'a #1: hello');
});

t.test('a socket that is closed already is a session that is over', async (t) => {
  for (const attach of [{}, { identity: 'me' }]) {
    const told: string[] = [];
    const all = await world(t, {
      authenticate: () => t.fail('there is no client to authenticate'),
      hooks: { onOpen: () => void told.push('open'), onClose: () => void told.push('close') },
    });
    const client = await all.connect();
    const [socket] = all.sockets as [WebSocket];
    client.socket.terminate();
    await all.session.closed;
    t.equal(socket.readyState, WebSocket.CLOSED);
    told.length = 0;
    const session = all.relay.attach(socket, all.request, attach);
    t.strictSame(await session.closed, []);
    t.equal(all.relay.sessions.size, 0);
    t.strictSame(told, []);
    session.close();
  }
});

t.test('listeners are on the socket when attach returns [S-1]', async (t) => {
  const all = await world(t, { attach: {}, authenticate: () => new Promise(() => {}) });
  all.server.prependListener('connection', (socket) => t.equal(socket.listenerCount('message'), 0));
  all.server.on('connection', (socket) => {
    for (const event of ['message', 'close', 'error']) t.ok(socket.listenerCount(event) > 0, event);
  });
  await all.connect();
});

t.test('what a session keeps is gone with it', async (t) => {
  const threads: ThreadEntry[] = [];
  const ended: ChatOutcome[] = [];
  const all = await world(t, {
    hooks: {
      onStart: (_session, thread) => void threads.push(thread),
      onEnd: (_session, outcome) => void ended.push(outcome),
    },
  });
  for (let round = 0; round < 10; round++) {
    const client = await all.connect();
    for (const agentId of ['a', 'b']) await client.ask(to(agentId));
    client.socket[round % 2 === 0 ? 'close' : 'terminate']();
    await all.sessions[round]?.closed;
  }
  t.equal(threads.length, 20);
  t.strictSame(new Set(ended.map(({ chatId }) => chatId)), new Set(threads.map(({ chatId }) => chatId)));
  t.match(all.relay.stats(), { sessions: 0, threads: 0, pending: 0 });
});
