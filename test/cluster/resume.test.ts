// Sessions that move between processes, with a real Redis and the real client.

import { setTimeout as delay } from 'node:timers/promises';
import { until } from '@arc/test-client';
import type { ThreadClient } from '@arc/thread-client';
import { type AgentHandler, textOf } from '@arc/thread-core/testing';
import t from 'tap';
import { brokenBuild } from '../history/breakage.js';
import { ResumableCluster, type ResumableNode } from './resumable.js';

/** Chats of the node that is killed. Default 50. */
const CHATS = Number(process.env.ARC_CHATS ?? 50);

/** Sends a message, and returns the agent's answer, which contains the number of messages in the chat. */
async function say(client: ThreadClient, text: string): Promise<string> {
  const turn = client.send('support', text, { stream: true });
  return turn.text();
}

/** Clients that each have said something. They do not come all at once. */
async function talking(cluster: ResumableCluster, count: number): Promise<ThreadClient[]> {
  const clients: ThreadClient[] = [];
  while (clients.length < count) {
    const more = Array.from({ length: Math.min(50, count - clients.length) }, () => cluster.client());
    await Promise.all(more.map((client, index) => say(client, `fact ${clients.length + index}`)));
    clients.push(...more);
  }
  return clients;
}

/** Recalls what it was told first in the chat. It takes its time, so that answers are under way when a node stops. */
const slowWithMemory: AgentHandler = async function* recall({ message, history, signal }) {
  const text = textOf(message);
  const words =
    text === 'recall' && history[0] !== undefined ? ['I', ' know ', textOf(history[0])] : ['I', ' hear ', text];
  for (const word of words) {
    await delay(50, undefined, { signal });
    yield word;
  }
};

t.test('a rolling restart of three nodes loses no conversation and no answer, and doubles no message', async (t) => {
  const cluster = await ResumableCluster.start(t, 3, slowWithMemory);
  const { agent } = cluster;
  const clients = await talking(cluster, 30);
  let isDone = false;
  const said: string[] = [];
  const failures: unknown[] = [];
  const load = clients.map(async (client, index) => {
    for (let round = 0; !isDone; round += 1) {
      said.push(`load ${index}.${round}`);
      await say(client, `load ${index}.${round}`).catch((error: unknown) => failures.push(error));
      await delay(50);
    }
  });
  for (const node of [...cluster.nodes]) {
    await cluster.add();
    await cluster.remove(node, 'SIGTERM');
  }
  isDone = true;
  await Promise.all(load);
  t.strictSame(failures, []);
  const bodies = agent.requests.map(({ body }) => /load \d+\.\d+/.exec(body)?.[0]).filter((text) => text !== undefined);
  t.equal(bodies.length, said.length, 'each message reached the agent once');
  t.equal(new Set(bodies).size, said.length);
  const recalled = await Promise.all(clients.map((client) => say(client, 'recall')));
  t.strictSame(
    recalled,
    [...clients.keys()].map((index) => `I know fact ${index}`),
  );
  t.equal(agent.counters.started, clients.length, 'each client has its one chat');
  await Promise.all(clients.map((client) => client.close()));
  await until(() => agent.counters.open === 0, 'the chats to be ended');
});

t.test('kill -9 of a node: its clients continue their chats on the others, or the chats are ended', async (t) => {
  const cluster = await ResumableCluster.start(t);
  const { agent } = cluster;
  const [victim] = cluster.nodes as [ResumableNode];
  const others = cluster.nodes;
  cluster.nodes = [victim];
  const clients = await talking(cluster, CHATS);
  cluster.nodes = others;
  const began = performance.now();
  // Whatever is sent into a connection that is dead already counts as interrupted.
  const lost = clients.map(
    (client) =>
      new Promise<void>((resolve) => {
        client.on('state', ({ status }) => status === 'waiting' && resolve());
      }),
  );
  await cluster.remove(victim, 'SIGKILL');
  await Promise.all(lost);
  const again = await Promise.all(clients.map((client) => say(client, 'again')));
  const took = performance.now() - began;
  // A message that was under way would be interrupted; here none was.
  t.strictSame(new Set(again), new Set(['support #2: again']));
  t.equal(agent.counters.started, CHATS);
  t.comment(`${CHATS} chats continued within ${Math.round(took)} ms, with a lease of ${cluster.lease} ms`);
  await Promise.all(clients.map((client) => client.close()));
  await until(() => agent.counters.open === 0, 'the chats to be ended');
  await until(async () => (await cluster.commands.keys('arc:s:*')).length === 0, 'the sessions to be removed');
});

t.test('messages of resumable sessions ask nothing of Redis, and a loss of data loses no session', async (t) => {
  const cluster = await ResumableCluster.start(t, 2);
  const { agent, commands } = cluster;
  const client = cluster.client();
  await say(client, 'first');
  const monitor = await commands.monitor();
  t.teardown(() => monitor.disconnect());
  const calls = new Map<string, number>();
  let onEnd = (): void => {};
  monitor.on('monitor', (_time: string, [name = '', argument = '']: string[], source: string) => {
    if (argument === 'the end') return onEnd();
    const call = /^evalsha$/i.test(name) ? `script ${argument}` : name.toLowerCase();
    if (source !== 'lua') calls.set(call, (calls.get(call) ?? 0) + 1);
  });
  // What two nodes ask that have nothing to do: each renewal runs two scripts.
  const timesOfScripts = (): number[] => [...calls].filter(([call]) => call.startsWith('script')).map(([, of]) => of);
  await until(
    async () => timesOfScripts().length >= 2 && timesOfScripts().every((times) => times >= 4),
    'both nodes to renew their leases twice',
  );
  // And each listens for what the other tells it.
  const renewals = new Set([...calls.keys(), 'xread']);
  calls.clear();
  for (let count = 0; count < 200; count += 1) await say(client, `message ${count}`);
  const monitored = new Promise<void>((resolve) => {
    onEnd = resolve;
  });
  await commands.echo('the end');
  await monitored;
  t.strictSame(
    [...calls.keys()].filter((call) => !renewals.has(call)),
    [],
    'nothing but renewals',
  );
  await commands.flushall();
  const registered = async (): Promise<boolean> => (await commands.keys('arc:s:*')).length > 0;
  await until(registered, 'the session to be registered again');
  const [owner] = (
    await Promise.all(cluster.nodes.map(async (node) => ({ node, stats: await cluster.statsOf(node) })))
  ).filter(({ stats: { sessions } }) => sessions > 0);
  await cluster.remove(owner?.node as ResumableNode, 'SIGTERM');
  t.match(await say(client, 'still there?'), 'support #202: still there?');
  t.equal(agent.counters.started, 1);
});

t.test('a roll to a release that stores more fields, and back, loses no conversation [S-87]', async (t) => {
  const cluster = await ResumableCluster.start(t, 1);
  const { agent } = cluster;
  const newer = brokenBuild({
    file: '/thread-redis/dist/record.js',
    find: 'Object.entries(threads).flatMap(([key, entry]) => [key, JSON.stringify(entry)])',
    replace: "Object.entries(threads).flatMap(([key, entry]) => [key, JSON.stringify({ ...entry, newer: ['field'] })])",
  });
  const client = cluster.client();
  t.equal(await say(client, 'a'), 'support #1: a');
  for (const env of [newer, process.env]) {
    const [old] = cluster.nodes as [ResumableNode];
    await cluster.add(env);
    await cluster.remove(old, 'SIGTERM');
    t.match(await say(client, 'again'), /^support #\d: again$/);
  }
  t.equal(await say(client, 'b'), 'support #4: b');
  t.equal(agent.counters.started, 1);
});

t.test('a node of another version of the stored format leaves sessions to nodes of their own [S-88]', async (t) => {
  const cluster = await ResumableCluster.start(t, 2);
  const { agent, commands } = cluster;
  const version = { file: '/thread-redis/dist/scripts/prelude.js', find: "local VERSION = '1'" };
  const client = cluster.client();
  t.equal(await say(client, 'a'), 'support #1: a');
  const other = await cluster.add(brokenBuild({ ...version, replace: "local VERSION = '2'" }));
  const stats = await Promise.all(cluster.nodes.map(async (node) => ({ node, ...(await cluster.statsOf(node)) })));
  const owner = stats.find(({ sessions }) => sessions === 1)?.node as ResumableNode;
  const codes: unknown[] = [];
  client.on('state', (state) => state.status === 'waiting' && codes.push(state.code));
  await cluster.remove(owner, 'SIGTERM');
  t.equal(await say(client, 'b'), 'support #2: b');
  t.equal((await cluster.statsOf(other)).sessions, 0);
  // Beside it there may be the frames that were not acknowledged.
  const [key = ''] = (await commands.keys('arc:s:*')).filter((key) => !key.endsWith(':f'));
  t.equal(await commands.hget(key, 'version'), '1');
  t.equal(agent.counters.started, 1);
  t.ok(codes[0] === 1012 && codes.slice(1).every((code) => code === 1013), `closed with ${codes}`);
});
