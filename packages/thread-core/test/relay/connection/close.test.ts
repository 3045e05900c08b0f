import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import t from 'tap';
import { WebSocket } from 'ws';
import { ArcClient } from '../../../src/index.js';
import { faults, startTestAgent } from '../../../src/testing/index.js';
import { deferred, maskedText, textOf, to, world } from '../helpers.js';

t.test('close ends all chats and all connections with 1001, and counts [F-137] [F-150] [S-5]', async (t) => {
  const all = await world(t);
  const clients = [await all.connect(), await all.connect(), await all.connect()];
  await clients[0]?.ask(to('a'));
  await clients[0]?.ask(to('b'));
  await clients[1]?.ask(to('a'));
  const closing = all.relay.close();
  t.equal(all.relay.close(), closing, 'again is the same');
  t.equal(all.relay.close({ timeout: 1 }), closing);
  t.ok(all.relay.isClosing);
  t.strictSame(await closing, { sessions: 3, ended: 3, failed: 0 });
  for (const { closed } of clients) t.strictSame(await closed, { code: 1001, reason: 'The server is shutting down' });
  t.equal(all.agent.counters.open, 0);
  t.match(all.relay.stats(), { sessions: 0, threads: 0, pending: 0 });
});

t.test('a relay without connections closes, too', async (t) => {
  const all = await world(t);
  t.strictSame(await all.relay.close(), { sessions: 0, ended: 0, failed: 0 });
});

t.test('close counts the chats that could not be ended [T-16]', async (t) => {
  const all = await world(t, { cleanupTimeout: 100, leaks: true });
  const client = await all.connect();
  await client.ask(to('a'));
  await client.ask(to('b'));
  all.agent.script({ method: 'chat.end', agentId: 'a' }, { ...faults.reset(), times: Number.POSITIVE_INFINITY });
  t.strictSame(await all.relay.close(), { sessions: 1, ended: 1, failed: 1 });
});

t.test('close waits for what runs and waits; new sends are cancelled meanwhile [F-46]', async (t) => {
  const all = await world(t);
  const [client, idle] = [await all.connect(), await all.connect()];
  const gate = all.agent.hold();
  client.send(to('a', '1', { id: 1 }), to('a', '2', { id: 2, stream: true }));
  await gate.arrived;
  const closing = all.relay.close();
  client.send(to('a', '3', { id: 3 }), { type: 'ping' });
  t.strictSame(await client.all(2), [{ type: 'cancelled', id: 3, agent_id: 'a' }, { type: 'pong' }]);
  t.match(await idle.ask(to('b', 'x', { id: 4 })), { type: 'cancelled', id: 4 });
  gate.release();
  t.match(await client.answer(), [{ type: 'response', id: 1 }]);
  t.match((await client.answer()).at(-1), { type: 'done', id: 2 });
  t.equal((await client.closed).code, 1001);
  t.strictSame(await closing, { sessions: 2, ended: 1, failed: 0 });
  t.equal(all.agent.requests.length, 3);
});

for (const [what, options, timeout] of [
  ['drainTimeout', { drainTimeout: 80 }, undefined],
  ['the timeout of close', {}, 80],
  ['a timeout of 0', {}, 0],
] as const) {
  t.test(
    `what has not ended by ${what} gets cancelled, in order, then 1001; none of it is sent [F-45] [F-46] [F-150]`,
    async (t) => {
      const all = await world(t, options);
      const client = await all.connect();
      await client.ask(to('a'));
      const gate = all.agent.hold('chat.message');
      client.send(to('a', '1', { id: 1 }), to('a', '2', { id: 2 }), to('a', '3', { id: 3, stream: true }));
      const request = await gate.arrived;
      await all.received(4);
      const began = performance.now();
      const closing = all.relay.close(timeout === undefined ? {} : { timeout });
      t.strictSame(
        await client.all(3),
        [1, 2, 3].map((id) => ({ type: 'cancelled', id, agent_id: 'a' })),
      );
      t.ok(performance.now() - began >= (timeout ?? 80) - 5);
      t.equal((await client.closed).code, 1001);
      t.strictSame(await closing, { sessions: 1, ended: 1, failed: 0 });
      gate.release();
      await all.agent.waitFor(() => request.aborted);
      t.strictSame(
        all.agent.requests.map(({ method }) => method),
        ['chat.start', 'chat.message', 'chat.end'],
      );
    },
  );
}

t.test('close with a time-out beyond the range of timers waits for running sends', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const gate = all.agent.hold();
  client.send(to('a'));
  await gate.arrived;
  const closing = all.relay.close({ timeout: Number.POSITIVE_INFINITY });
  t.strictSame(await client.rest(), []);
  gate.release();
  t.match(await client.next(), { type: 'response' });
  await closing;
});

t.test('close with a chat.start in flight: the chat is ended', async (t) => {
  const all = await world(t, { agent: { createChat: 'when-ready' } });
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  const closing = all.relay.close({ timeout: 0 });
  t.match(await client.next(), { type: 'cancelled', id: 1 });
  await client.closed;
  gate.release();
  t.strictSame(await closing, { sessions: 1, ended: 1, failed: 0 });
  t.match(all.agent.counters, { started: 1, open: 0 });
});

t.test('close waits for an end that is under way', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('a'));
  const gate = all.agent.hold('chat.end');
  client.send({ type: 'end', agent_id: 'a' });
  await gate.arrived;
  const closing = all.relay.close({ timeout: 0 });
  await client.closed;
  gate.release();
  await closing;
  t.equal(all.agent.counters.open, 0);
});

t.test('close while authenticate and authorize run lets nothing through any more', async (t) => {
  const asked = deferred<unknown>();
  const allowed = deferred<boolean>();
  let sessions = 0;
  const all = await world(t, {
    attach: () => (++sessions === 1 ? {} : { identity: 'me' }),
    authenticate: () => asked.promise,
    authorize: () => allowed.promise,
  });
  const [one, two] = [await all.connect(), await all.connect()];
  one.send(to('a'));
  two.send(to('a'));
  await all.received(2);
  const closing = all.relay.close({ timeout: 0 });
  t.strictSame([(await one.closed).code, (await two.closed).code], [1001, 1001]);
  asked.resolve('me');
  allowed.resolve(true);
  t.strictSame(await closing, { sessions: 2, ended: 0, failed: 0 });
  t.equal(all.agent.counters.requests, 0);
});

t.test('a peer that never answers the closing handshake is dropped', async (t) => {
  const all = await world(t);
  const raw = await all.connectRaw();
  raw.resume();
  raw.write(maskedText(JSON.stringify({ agent_id: 'a', message: { role: 'user', parts: [] } })));
  await all.agent.waitFor(({ counters }) => counters.open === 1 && counters.running === 0);
  const began = performance.now();
  const gone = once(raw, 'close');
  t.strictSame(await all.relay.close({ timeout: 0 }), { sessions: 1, ended: 1, failed: 0 });
  t.ok(performance.now() - began < 30_000, 'long before ws gives it up');
  await gone;
});

t.test('a peer that stopped reading is dropped', async (t) => {
  const all = await world(t, { maxBufferedBytes: 1024 });
  const raw = await all.connectRaw();
  raw.pause();
  all.agent.script('chat.start', async function* () {
    for (let i = 0; i < 200; i++) yield 'x'.repeat(65_536);
  });
  raw.write(maskedText(JSON.stringify({ agent_id: 'a', stream: true, message: { role: 'user', parts: [] } })));
  await all.agent.waitFor(({ counters }) => counters.open === 1);
  t.match(await all.relay.close({ timeout: 50 }), { sessions: 1, ended: 1 });
  raw.destroy();
});

t.test('sockets that are attached while the relay closes, or afterwards, are closed with 1001', async (t) => {
  let sessions = 0;
  let opened = 0;
  const all = await world(t, {
    attach: () => (++sessions === 1 ? { identity: 'me' } : {}),
    authenticate: () => t.fail('it was asked'),
    hooks: { onOpen: () => void ++opened },
  });
  const first = await all.connect();
  const gate = all.agent.hold();
  first.send(to('a'));
  await gate.arrived;
  const closing = all.relay.close();
  const second = await all.connect();
  second.send(to('b'), { type: 'ping' });
  t.equal((await second.closed).code, 1001);
  gate.release();
  await closing;
  const third = await all.connect();
  t.equal((await third.closed).code, 1001);
  t.strictSame([...second.texts, ...third.texts], []);
  await Promise.all(all.sessions.map(({ closed }) => closed));
  t.equal(all.relay.sessions.size, 0);
  t.equal(all.agent.counters.started, 1);
  t.equal(opened, 1);
});

t.test('frames come before the close frame of an application that closes the socket in the same turn', async (t) => {
  const all = await world(t, { hooks: { onSend: () => all.sockets[0]?.close(4000) } });
  all.agent.script({ agentId: 'a' }, async function* () {
    yield 'one';
    yield 'two';
  });
  const client = await all.connect();
  client.send(to('a', 'x', { stream: true }));
  t.equal((await client.closed).code, 4000);
  t.strictSame(
    client.texts.map((text) => JSON.parse(text).type),
    ['content', 'content', 'done'],
  );
});

t.test('a client that was given is not closed, one that was made here is', async (t) => {
  const agent = await startTestAgent();
  const client = new ArcClient({ endpoint: agent.endpoint });
  const start = (of: ArcClient) => of.chat.start({ targetAgent: 'a', initialMessage: { role: 'user', parts: [] } });
  const given = await world(t, { client });
  await given.relay.close();
  t.match(await start(client), { result: { type: 'chat' } });
  await client.close();
  await agent.close();
  const made = await world(t);
  await made.relay.close();
  await t.rejects(start(made.relay.config.client), { code: -41_003 });
});

t.test('after close nothing keeps the process alive', async (t) => {
  // The child has a relay with every timer, a session of each kind, and must end by itself.
  const source = `
    import { once } from 'node:events';
    import { createRelay } from './src/index.js';
    import { startTestAgent } from './src/testing/index.js';
    import { WebSocket, WebSocketServer } from 'ws';
    const agent = await startTestAgent();
    const relay = createRelay({ endpoint: agent.endpoint, heartbeat: 500, idleTimeout: 60000, frameRate: 1000 });
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    server.on('connection', (socket, request) => relay.attach(socket, request));
    await once(server, 'listening');
    const sockets = Array.from({ length: 3 }, () => new WebSocket('ws://127.0.0.1:' + server.address().port));
    await Promise.all(sockets.map((socket) => once(socket, 'open')));
    const message = { role: 'user', parts: [] };
    sockets[0].send(JSON.stringify({ agent_id: 'a', message }));
    sockets[1].send(JSON.stringify({ agent_id: 'a', message, stream: true }));
    await Promise.all([once(sockets[0], 'message'), once(sockets[1], 'message'), once(sockets[2], 'ping')]);
    const closed = new Promise((resolve) => server.close(resolve));
    console.log(JSON.stringify(await relay.close()));
    await closed;
    await agent.close();
    console.log('done');
  `;
  const child = spawn(process.execPath, [...process.execArgv, '--input-type=module', '--eval', source], {
    cwd: new URL('../../..', import.meta.url),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  let done = 0;
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line);
    done = performance.now();
  });
  const [code] = (await once(child, 'close')) as [number];
  t.equal(code, 0);
  t.strictSame(JSON.parse(lines[0] as string), { sessions: 3, ended: 2, failed: 0 });
  t.equal(lines[1], 'done');
  t.ok(performance.now() - done < 3000, `it continued for ${performance.now() - done} ms`);
});

t.test('a send that is answered while the relay drains is answered to the end', async (t) => {
  const all = await world(t, { busy: 'parallel' });
  const client = await all.connect();
  await client.ask(to('a'));
  const gate = all.agent.hold();
  client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
  await all.agent.waitFor(({ counters }) => counters.running === 2);
  const closing = all.relay.close();
  gate.release();
  const frames = await client.all(2);
  t.ok(frames.every((frame) => textOf(frame).startsWith('a #')));
  await closing;
  t.equal(client.socket.readyState === WebSocket.OPEN, false);
});

t.test('a hook that rejects is logged, and changes nothing', async (t) => {
  const all = await world(t, { hooks: { onStart: () => Promise.reject(new Error('the audit is down')) } });
  const client = await all.connect();
  t.equal((await client.ask(to('a'))).type, 'response');
  t.match(all.log.at('error'), [{ message: 'the hook onStart threw' }]);
});

t.test('an authenticate that never answers holds up no close', async (t) => {
  const all = await world(t, { authenticate: () => new Promise(() => {}) });
  await all.connect();
  const asked = all.relay.admit(all.request);
  await all.relay.close();
  t.match(await asked, { refused: { status: 503 } });
});

t.test('[F-517] a session that is closed in the function headers sends nothing more to its agents', async (t) => {
  for (const token of [{}, { sessionToken: () => 'secret' }]) {
    const all = await world(t, {
      ...token,
      headers: ({ session }) => {
        session.close(4000, 'Not paid');
        return {};
      },
    });
    const client = await all.connect();
    client.send(to('a', 'x', { id: 1 }));
    t.match(await client.next(), { type: 'cancelled', id: 1 });
    t.equal((await client.closed).code, 4000);
    t.strictSame(await all.session.closed, []);
    t.strictSame(all.agent.requests, []);
    t.strictSame(all.log.at('error', 'warn'), []);
  }
});
