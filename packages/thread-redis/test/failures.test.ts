import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { RedisServer, until } from '@arc/test-client';
import type { JsonValue, SessionState, SessionStore, StoreNode } from '@arc/thread-core';
import t, { type Test } from 'tap';
import { type IoRedisClient, redisStore } from '../src/index.js';
import { clients, type TestClient } from './clients.js';

const LONG = 60_000;

interface World {
  server: RedisServer;
  admin: TestClient;
  store: SessionStore;
  node: StoreNode;
  peer: StoreNode;
}

function node(name: string, lease = LONG): StoreNode {
  return { name, incarnation: randomUUID(), lease };
}

function state(change: Partial<SessionState> = {}): SessionState {
  const journal = { firstSeq: 1, frames: [] };
  return { seq: 0, got: 0, pending: [], threads: {}, waiting: [], journal, ...change };
}

/** Asks until the answer is right, and returns it. */
async function askUntil<T>(ask: () => Promise<T>, isRight: (answer: T) => boolean): Promise<T> {
  let answer: T | undefined;
  const isAnswered = async (): Promise<boolean> => {
    answer = await ask();
    return isRight(answer);
  };
  await until(isAnswered, () => `the answer is right, which is ${JSON.stringify(answer)}`);
  return answer as T;
}

/** A server, a store that gives up on it soon, and two nodes that have joined, at a time when data is old enough. */
async function begin(t: Test, client: string, ...args: string[]): Promise<World> {
  const server = await RedisServer.start(...args);
  t.teardown(() => server.stop());
  const connect = clients[client] as (typeof clients)[string];
  const [used, admin] = [await connect(server.url), await connect(server.url)];
  t.teardown(() => {
    used.close();
    admin.close();
  });
  const store = redisStore(used.client, { timeout: 1000 });
  await store.join(node('first', 1));
  const world = { server, admin, store, node: node('a'), peer: node('b') };
  await store.join(world.node);
  await store.join(world.peer);
  await askUntil(
    () => store.claim(world.node, 'none', 'x', undefined),
    (result) => result.state === 'unknown',
  );
  return world;
}

for (const client of ['node-redis 6', 'node-redis 5']) {
  t.test(`${client}: calls that timed out while Redis was away do not delay the client's close()`, async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const used = await (clients[client] as (typeof clients)[string])(server.url);
    t.teardown(() => used.close());
    const store = redisStore(used.client, { timeout: 100 });
    const owner = node('a');
    await store.join(owner);
    await server.kill();
    await t.rejects(store.renew(owner), { name: 'StoreError', code: 'away' });
    await t.rejects(store.open(owner, { sid: 's1', grace: LONG }), { name: 'StoreError', code: 'away' });
    await used.end();
  });
}

for (const client of ['node-redis 6', 'ioredis 6']) {
  t.test(`${client}: while Redis is away, calls fail in time; when it is back, they work`, async (t) => {
    const { server, store, node } = await begin(t, client);
    const { boot } = await store.renew(node);
    const owned = await store.open(node, { sid: 's1', grace: LONG });
    await server.kill();
    await t.rejects(store.renew(node), { name: 'StoreError', code: 'away' });
    await t.rejects(store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' }), { code: 'away' });
    await t.rejects(store.read('s1', 0), { code: 'away' });
    await server.start();
    const renewal = await askUntil(
      () => store.renew(node).catch(() => undefined),
      (answer) => answer !== undefined,
    );
    t.not(renewal?.boot, boot, 'a Redis that has lost its memory is seen to have done so');
    t.equal(renewal?.sessions, 0);
    t.same(await store.open(node, { sid: 's1', grace: LONG, epoch: 1, boot }), owned);
  });

  t.test(`${client}: with an append-only file a restart loses no session, and none is claimed meanwhile`, async (t) => {
    const { server, store, node, peer } = await begin(t, client, '--appendonly', 'yes', '--appendfsync', 'always');
    const { boot } = await store.renew(node);
    await store.open(node, { sid: 's1', secretHash: 'x', grace: LONG });
    await store.leave(node);
    await server.kill();
    await server.start();
    const result = await askUntil(
      () => store.claim(peer, 's1', 'x', undefined).catch(() => undefined),
      (answer) => answer !== undefined,
    );
    t.equal(result?.state, 'busy');
    const renewal = await store.renew(peer);
    t.not(renewal.boot, boot);
    t.same((await store.sessionsOn(node)).length, 1);
  });

  t.test(`${client}: a Redis that hangs counts as away, and what it did late can be done again`, async (t) => {
    const { server, store, node } = await begin(t, client);
    server.signal('SIGSTOP');
    await t.rejects(store.open(node, { sid: 's1', grace: LONG }), { name: 'StoreError', code: 'away' });
    server.signal('SIGCONT');
    const owned = await store.open(node, { sid: 's1', grace: LONG });
    t.equal(owned.epoch, 1);
    t.equal((await store.renew(node)).sessions, 1);
  });

  t.test(
    `${client}: a search for past sessions that Redis makes late, when all leases are over, ends none [S-164]`,
    async (t) => {
      const { server, store } = await begin(t, client);
      const [owner, reaper] = [node('c', 500), node('d', 500)];
      await store.join(owner);
      await store.join(reaper);
      await store.open(owner, { sid: 's1', grace: 1 });
      const search = () => store.reap(reaper, { limit: 10, takeoverAfter: LONG });
      // The server has the script from now on.
      t.same(await search(), []);
      server.signal('SIGSTOP');
      await t.rejects(search(), { name: 'StoreError', code: 'away' }, 'after the end of all leases');
      server.signal('SIGCONT');
      t.match(await store.renew(owner), { sessions: 1, lapsed: true });
    },
  );

  t.test(`${client}: a Redis that holds commands back (CLIENT PAUSE) counts as away`, async (t) => {
    const { admin, store, node } = await begin(t, client);
    await admin.command('CLIENT', 'PAUSE', '2500', 'ALL');
    await t.rejects(store.renew(node), { name: 'StoreError', code: 'away' });
    await askUntil(
      () => store.renew(node).catch(() => undefined),
      (answer) => answer !== undefined,
    );
  });

  t.test(
    `${client}: with no memory left nothing new is stored, but sessions are renewed, claimed and ended [S-166]`,
    async (t) => {
      const { admin, store, node, peer } = await begin(t, client);
      const meta = { secretHash: 'x', grace: LONG, threads: { t1: { agentId: 'one', chatId: 'c1' } } };
      const [one, two, three] = [
        await store.open(node, { sid: 's1', ...meta }),
        await store.open(node, { sid: 's2', ...meta }),
        await store.open(node, { sid: 's3', ...meta }),
      ];
      await store.append(one, { firstSeq: 1, frames: ['1'] });
      await admin.command('CONFIG', 'SET', 'maxmemory', '1');
      const full = { name: 'StoreError', code: 'full' };
      await t.rejects(store.open(node, { sid: 's4', grace: LONG }), full);
      await t.rejects(store.thread(one, 't2', { agentId: 'two', chatId: 'c2' }), full);
      await t.rejects(store.append(one, { firstSeq: 2, frames: ['2'] }), full);
      await t.rejects(store.park(one, state()), full);
      await t.rejects(store.post('b', 'hello'), full);
      const { sessions, boot } = await store.renew(node);
      t.equal(sessions, 3);
      t.same(await store.open(node, { sid: 's1', ...meta, epoch: one.epoch, boot }), one, 'registered again as it is');
      await store.thread(one, 't1', null);
      await store.trim('s1', 1);
      await store.expire(one, LONG);
      await store.close(one);
      await store.close(two);
      await store.leave(node);
      t.equal((await store.claim(peer, 's3', 'x', undefined)).state, 'claimed');
      const reaped = await store.reapOne(peer, 's3', LONG);
      t.same(reaped?.session.threads, meta.threads);
      await t.rejects(store.close(three), { code: 'fenced' });
      await store.close(reaped?.owned as typeof three);
      t.equal((await store.renew(peer)).sessions, 0);
    },
  );

  t.test(`${client}: an error, which is logged, says nothing of what was to be stored`, async (t) => {
    const { admin, store, node, server } = await begin(t, client);
    const owned = await store.open(node, { sid: 's1', grace: LONG });
    const identity = { name: 'c4n4ry-identity' };
    const attempts = (): Promise<unknown>[] => [
      store.open(node, { sid: 's2', secretHash: 'c4n4ry-hash', identityKey: 'c4n4ry-key', identity, grace: LONG }),
      store.append(owned, { firstSeq: 1, frames: ['c4n4ry-text'] }),
      store.post('b', 'c4n4ry-message'),
    ];
    const check = async (code: string): Promise<void> => {
      for (const result of await Promise.allSettled(attempts())) {
        t.match(result, { status: 'rejected', reason: { name: 'StoreError', code } });
        t.notMatch(inspect(result, { depth: 12, showHidden: true }), /c4n4ry/);
      }
    };
    await admin.command('CONFIG', 'SET', 'maxmemory', '1');
    await check('full');
    await server.kill();
    await check('away');
  });

  t.test(`${client}: a replica refuses writes, and says that it is one`, async (t) => {
    const { admin, store, node } = await begin(t, client);
    const owned = await store.open(node, { sid: 's1', grace: LONG });
    await admin.command('REPLICAOF', '127.0.0.1', '1');
    await t.rejects(store.renew(node), { name: 'StoreError', code: 'readonly' });
    await t.rejects(store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' }), { code: 'readonly' });
    await admin.command('REPLICAOF', 'NO', 'ONE');
    await store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' });
  });

  t.test(`${client}: scripts that the server has forgotten are sent again`, async (t) => {
    const { admin, store, node } = await begin(t, client);
    await admin.command('SCRIPT', 'FLUSH');
    const owned = await store.open(node, { sid: 's1', grace: LONG });
    await admin.command('SCRIPT', 'FLUSH');
    await store.close(owned);
  });

  t.test(`${client}: an inbox loses nothing when its connection is cut, again and again`, async (t) => {
    const { admin, store, node } = await begin(t, client);
    const got: JsonValue[] = [];
    const stop = await store.onPost(node, (message) => got.push(message));
    for (let number = 0; number < 40; number += 1) {
      if (number % 10 === 5) await admin.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await askUntil(
        () => store.post('a', number).catch(() => false),
        (posted) => posted,
      );
    }
    await askUntil(
      async () => got,
      (messages) => messages.includes(39),
    );
    // One whose answer was cut off was posted twice.
    t.same(
      [...new Set(got)],
      Array.from({ length: 40 }, (_, number) => number),
    );
    await stop();
    await stop();
  });

  t.test(`${client}: what was read leaves the inbox`, async (t) => {
    const { admin, store, node } = await begin(t, client);
    const got: JsonValue[] = [];
    const stop = await store.onPost(node, (message) => got.push(message));
    await store.post('a', 1);
    await store.post('a', 2);
    await askUntil(
      () => admin.command('XLEN', `arc:in:${node.incarnation}:a`),
      (length) => got.length === 2 && length === 0,
    );
    await stop();
  });

  t.test(`${client}: a long journal and large numbers come back as they were`, async (t) => {
    const { store, node, peer } = await begin(t, client);
    const seq = 2 ** 52 - 1;
    const frames = Array.from({ length: 20_000 }, (_, at) => `{"seq":${seq - 19_999 + at}}`);
    const owned = await store.open(node, { sid: 's1', secretHash: 'x', grace: LONG });
    const journal = { firstSeq: seq - 19_999, frames };
    await store.park(owned, state({ seq, got: seq - 1, journal }));
    const result = await store.claim(peer, 's1', 'x', undefined);
    t.ok(result.state === 'claimed');
    if (result.state !== 'claimed') return;
    t.equal(result.session.seq, seq);
    t.equal(result.session.got, seq - 1);
    t.same(await store.read('s1', 0), journal);
    t.same(await store.read('s1', seq - 1), { firstSeq: seq, frames: frames.slice(-1) });
    await store.trim('s1', seq - 1);
    // The last entry has the frames that share it with the last one.
    t.ok(((await store.read('s1', 0))?.frames.length ?? 0) <= 1000);
  });

  t.test(`${client}: when all sessions are closed and all nodes have left, no key is left`, async (t) => {
    const { admin, store, node, peer } = await begin(t, client);
    const meta = { secretHash: 'x', identityKey: 'ann', grace: 0, threads: { t1: { agentId: 'one', chatId: 'c1' } } };
    const one = await store.open(node, { sid: 's1', ...meta });
    await store.append(one, { firstSeq: 1, frames: ['1'] });
    await store.post('a', 'unread');
    await store.open(node, { sid: 's2', ...meta });
    await store.park(await store.open(node, { sid: 's3', ...meta }), state({ seq: 1 }));
    await store.close(one);
    await store.leave(node);
    for (const { owned } of await store.reap(peer, { limit: 10, takeoverAfter: LONG })) await store.close(owned);
    await store.leave(peer);
    await store.reap(node, { limit: 10, takeoverAfter: LONG });
    await store.leave(node);
    t.same(await admin.command('KEYS', '*'), []);
  });

  t.test(
    `${client}: a session in another version is not touched, and fields of a newer release are kept`,
    async (t) => {
      const { admin, store, node, peer } = await begin(t, client);
      const owned = await store.open(node, { sid: 's1', secretHash: 'x', grace: 0 });
      await admin.command('HSET', 'arc:s:s1', 'new-field', 'of a newer release');
      await store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' });
      t.equal(await admin.command('HGET', 'arc:s:s1', 'new-field'), 'of a newer release');
      await admin.command('HSET', 'arc:s:s1', 'version', '2');
      const version = { name: 'StoreError', code: 'version' };
      await t.rejects(store.thread(owned, 't1', null), version);
      await t.rejects(store.open(node, { sid: 's1', grace: 0 }), version);
      await store.leave(node);
      await t.rejects(store.claim(peer, 's1', 'x', undefined), version);
      await t.rejects(store.reapOne(peer, 's1', LONG), version);
      t.same(await store.reap(peer, { limit: 10, takeoverAfter: LONG }), []);
      t.equal(await admin.command('HGET', 'arc:s:s1', 'version'), '2');
    },
  );
}

t.test(
  'sessions in another version keep none of this one from being reaped, however many they are [S-140]',
  async (t) => {
    const { admin, store, node, peer } = await begin(t, 'ioredis 6');
    for (let count = 10; count < 50; count += 1) {
      const owned = await store.open(node, { sid: `s${count}`, grace: 0 });
      await store.park(owned, state());
      if (count < 45) await admin.command('HSET', `arc:s:s${count}`, 'version', '2');
    }
    const reap = (): Promise<string[]> =>
      store.reap(peer, { limit: 3, takeoverAfter: LONG }).then((reaped) => reaped.map(({ session }) => session.sid));
    t.strictSame(await askUntil(reap, ({ length }) => length > 0), ['s45', 's46', 's47']);
    t.strictSame(await reap(), ['s48', 's49']);
    t.strictSame(await reap(), []);
    t.equal(await admin.command('ZCARD', 'arc:parked'), 35, 'the others are left to the nodes of their version');
  },
);

for (const path of ['was given', 'took from a node that was given it'] as const) {
  t.test(`a session that a node of an older build ${path} is not taken for one that nobody had [S-150]`, async (t) => {
    const { admin, store, node, peer } = await begin(t, 'ioredis 6');
    const claimed = (by: StoreNode) => store.claim(by, 's1', 'x', undefined);
    const owned = await store.open(node, { sid: 's1', secretHash: 'x', grace: LONG });
    if (path !== 'was given') t.match(await claimed(peer), { state: 'busy' });
    t.ok(await store.handover(owned, peer.name, state({ got: 1 })));
    // Such a node removes no mark when it claims a session.
    if (path !== 'was given') await admin.command('HSET', 'arc:s:s1', 'epoch', '3');
    await store.leave(peer);
    t.match(await claimed(node), { state: 'claimed', session: { got: 1, exact: false } });
  });
}

t.test('a failover that loses the claim of a session does not make it one that nobody had [S-153]', async (t) => {
  const { admin, store, node, peer } = await begin(t, 'ioredis 6');
  const claimed = (by: StoreNode) => store.claim(by, 's1', 'x', undefined);
  const owned = await store.open(node, { sid: 's1', secretHash: 'x', grace: LONG });
  const { boot } = await store.renew(peer);
  t.match(await claimed(peer), { state: 'busy' });
  t.ok(await store.handover(owned, peer.name, state({ got: 1 })));
  const given = await admin.command('HGET', 'arc:s:s1', 'unclaimed');
  const result = await claimed(peer);
  // The new primary has the handover, and not the claim. Then the owner registers what it has.
  await admin.command('HSET', 'arc:s:s1', 'unclaimed', String(given));
  t.ok(result.state === 'claimed' && given !== null);
  await store.open(peer, { sid: 's1', secretHash: 'x', grace: LONG, epoch: 2, boot: `not ${boot}` });
  await store.leave(peer);
  t.match(await claimed(node), { state: 'claimed', session: { exact: false } });
});

t.test('a search for past sessions looks at a bounded number of those in another version [S-149]', async (t) => {
  const { admin, store, node, peer } = await begin(t, 'ioredis 6');
  const fill = `for at = 1, 5000 do
    redis.call('HSET', 'arc:s:o' .. at, 'version', '2', 'status', 'parked', 'epoch', '1')
    redis.call('ZADD', 'arc:parked', at, 'o' .. at)
  end`;
  await admin.command('EVAL', fill, '0');
  await store.park(await store.open(node, { sid: 's1', grace: 0 }), state());
  await admin.command('CONFIG', 'RESETSTAT');
  let searches = 0;
  const reap = (): Promise<string[]> => {
    searches += 1;
    return store.reap(peer, { limit: 3, takeoverAfter: LONG }).then((found) => found.map(({ session }) => session.sid));
  };
  t.strictSame(await askUntil(reap, ({ length }) => length > 0), ['s1'], 'it is found all the same');
  const calls = /cmdstat_hmget:calls=(\d+)/.exec(String(await admin.command('INFO', 'commandstats')))?.[1];
  t.ok(Number(calls) / searches < 2100, `${calls} sessions in ${searches} searches`);
});

for (const loss of ['is flushed', 'is restarted']) {
  t.test(
    `a renewal that its client repeats after Redis ${loss} gives the new data a name of its own [S-108]`,
    async (t) => {
      const { server, admin, store, node: a, peer: b } = await begin(t, 'ioredis 6');
      const meta = { sid: 's1', grace: LONG };
      const { boot } = await store.renew(b);
      await store.open(b, meta);
      const lose = async (): Promise<void> => {
        if (loss === 'is flushed') return void (await admin.command('FLUSHALL'));
        await server.kill();
        await server.start();
      };
      await lose();
      // Clients send a command again whose answer was lost with the connection.
      const io = admin.client as IoRedisClient;
      let last: Parameters<IoRedisClient['call']> = ['PING', []];
      const call = (...command: typeof last): Promise<unknown> => {
        last = command;
        return io.call(...command);
      };
      const recorder = { call, duplicate: () => io, disconnect: () => {}, on: () => {} };
      await redisStore(recorder).renew(a);
      const renewed = await store.renew(b);
      t.not(renewed.boot, boot);
      await store.open(b, { ...meta, epoch: 1, boot });
      await lose();
      await io.call(...last);
      t.not((await store.renew(b)).boot, renewed.boot);
      await store.open(b, { ...meta, epoch: 1, boot: renewed.boot });
      t.strictSame(await store.sessionsOn(b), ['s1'], 'the session is registered again');
    },
  );
}

t.test(
  'what waited in sessions is not read to end their chats: it may be too much for one answer [S-174]',
  async (t) => {
    const { store, node, peer } = await begin(t, 'node-redis 6');
    const waiting = ['x'.repeat(1024 * 1024)];
    const threads = { t1: { agentId: 'one', chatId: 'c1' } };
    for (const sid of ['s1', 's2']) {
      await store.park(await store.open(node, { sid, grace: sid === 's1' ? 1 : LONG }), state({ waiting, threads }));
    }
    const reaped = await askUntil(
      () => store.reap(peer, { limit: 10, takeoverAfter: LONG }),
      ({ length }) => length > 0,
    );
    const one = await store.reapOne(peer, 's2', LONG);
    for (const session of [reaped[0]?.session, one?.session]) {
      t.strictSame(session?.waiting, []);
      t.strictSame(session?.threads, threads);
    }
  },
);
