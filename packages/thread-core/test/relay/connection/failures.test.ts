import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { WebSocket } from 'ws';
import type { Logger } from '../../../src/index.js';
import { type Client, to, withDeadline, world } from '../helpers.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const fail = (): never => {
  throw new Error('broken');
};

t.test('a socket that throws in a sweep costs its session, and no other [S-42]', async (t) => {
  const all = await world(t, { heartbeat: 250 });
  const [broken, other]: Client[] = [await all.connect(), await all.connect()];
  await broken?.ask(to('a'));
  Object.assign(all.sockets[0] as WebSocket, { ping: fail });
  t.equal((await (broken as Client).closed).code, 1011);
  t.match(await all.sessions[0]?.closed, [{ agentId: 'a', ok: true }]);
  await once((other as Client).socket, 'ping');
  t.equal((await (other as Client).ask(to('b'))).type, 'response');
  t.match(await all.log.line('a session failed'), { level: 'error', about: { session: all.session.id } });
});

t.test('a socket that throws when it is written to costs its session, and no other [S-42]', async (t) => {
  const all = await world(t);
  const [broken, other] = [await all.connect(), await all.connect()];
  await broken.ask(to('a'));
  const tcp = all.sockets[0] as unknown as { _socket: { write: unknown } };
  const { write } = tcp._socket;
  tcp._socket.write = (): never => {
    tcp._socket.write = write;
    return fail();
  };
  broken.send(to('a', 'x', { id: 1 }));
  other.send(to('b', 'x', { id: 2 }));
  t.match(await other.next(), { type: 'response', id: 2 });
  t.equal((await broken.closed).code, 1011);
  t.match(await all.sessions[0]?.closed, [{ agentId: 'a', ok: true }]);
});

t.test('a socket that throws when a microtask writes to it costs its session, and no other [F-499]', async (t) => {
  const all = await world(t, { busy: 'reject', maxBufferedBytes: 1 });
  const [broken, other] = [await all.connect(), await all.connect()];
  const gate = all.agent.hold('chat.start');
  broken.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  Object.assign(all.sockets[0] as WebSocket, { send: fail });
  // It is refused in a microtask. Frames beyond maxBufferedBytes are written by `send`.
  broken.send(to('a', 'x', { id: 2 }));
  t.equal((await broken.closed).code, 1011);
  gate.release();
  t.match(await all.sessions[0]?.closed, [{ agentId: 'a', ok: true }]);
  t.equal((await other.ask(to('b'))).type, 'response');
});

t.test('a session that throws while it reads a frame is closed, and no other [S-42]', async (t) => {
  const all = await world(t);
  const [broken, other] = [await all.connect(), await all.connect()];
  await broken.ask(to('a'));
  Object.defineProperty(all.session, 'acceptFrame', { value: fail });
  broken.send({ type: 'ping' });
  t.equal((await broken.closed).code, 1011);
  t.match(await withDeadline(all.session.closed, 'the end of the session'), [{ agentId: 'a', ok: true }]);
  t.equal((await other.ask(to('b'))).type, 'response');
});

t.test('a logger that throws or rejects changes nothing, whatever is logged [S-43]', async (t) => {
  for (const broken of [fail, () => Promise.reject(new Error('broken'))]) {
    const logger = { debug: broken, info: broken, warn: broken, error: broken } as Logger;
    let refuse = false;
    const all = await world(t, {
      logger,
      attach: {},
      authenticate: () => (refuse ? fail() : 'me'),
      hooks: { onStart: fail },
      agents: (id) => (id === 'broken' ? fail() : true),
    });
    const client = await all.connect();
    t.equal((await client.ask(to('a', 'x', { id: 1 }))).type, 'response', 'error: a hook threw');
    t.match(await client.ask(to('broken', 'x', { id: 2 })), { id: 2, data: { code: -32_603 } }, 'error: a send failed');
    t.match(await client.ask('no JSON'), { type: 'error', data: { code: -32_700 } }, 'debug: a bad frame');
    client.socket.terminate();
    t.match(
      await withDeadline(all.session.closed, 'the end of the session'),
      [{ ok: true }],
      'info: a lost connection',
    );
    refuse = true;
    t.equal((await (await all.connect()).closed).code, 4401, 'warn: a connection was refused');
  }
});

t.test('end frames that are answered leave nothing behind [S-44]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const count = 5000;
  const heap = async (): Promise<number> => {
    for (let sent = 0; sent < count; sent += 500) {
      for (let i = 0; i < 500; i++) client.send({ type: 'end', agent_id: 'none' });
      t.ok((await client.all(500)).every(({ type }) => type === 'ended'));
    }
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  // The garbage collector may keep something in one round; what is left behind is there after each.
  let least = Number.POSITIVE_INFINITY;
  for (let before = await heap(), round = 0; round < 5 && least >= 30; round++) {
    const after = await heap();
    least = Math.min(least, (after - before) / count);
    before = after;
  }
  t.ok(least < 30, `${least.toFixed(1)} bytes a frame`);
});
