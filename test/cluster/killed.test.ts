import { type RecordingClient, to, until } from '@arc/test-client';
import t from 'tap';
import { Cluster } from './cluster.js';

const AGENTS = ['support', 'hr', 'billing', 'sales'];

/** Clients that connect at a time. All at once they would only wait for each other on a small machine. */
const BATCH = 25;

/** Connects clients to a node, and opens four chats of each. */
async function openChats(cluster: Cluster, at: number, clients: number): Promise<RecordingClient[]> {
  const node = cluster.nodes[at] as Cluster['nodes'][number];
  const connected = await Promise.all(Array.from({ length: Math.min(clients, BATCH) }, () => node.connect()));
  const answers = await Promise.all(connected.flatMap((client) => AGENTS.map((agent) => client.ask(to(agent)))));
  const failed = answers.find(({ type }) => type !== 'response');
  if (failed !== undefined) throw new Error(`a chat could not be opened: ${JSON.stringify(failed)}`);
  return clients <= BATCH ? connected : [...connected, ...(await openChats(cluster, at, clients - BATCH))];
}

/** The key of the only session. */
async function sessionKey({ client }: Cluster): Promise<string> {
  const [key = ''] = await client.keys('arc:s:*');
  return key;
}

t.test(
  'kill -9 of a node with 1,000 chats leaves none of them open: the others end all of them, and no key is left',
  async (t) => {
    // The other node must not lose its lease, or give a chat up, while this machine does all this at once.
    const cluster = await Cluster.start(t, { lease: 4000, cleanupTimeout: 5000 });
    const [killed] = cluster.nodes;
    await openChats(cluster, 0, 250);
    await openChats(cluster, 1, 10);
    t.equal(cluster.agent.counters.open, 1040);
    const began = performance.now();
    await killed?.kill();
    await until(
      () => cluster.agent.counters.open === 40,
      () => `the chats of the dead node to be ended: ${cluster.agent.counters.open} are open`,
    );
    const took = performance.now() - began;
    t.ok(took < cluster.bound * 3, `within three times the bound of ${cluster.bound} ms: ${Math.round(took)} ms`);
    // A session counts when it is removed, which comes after its chats are ended.
    const reaped = async (): Promise<number> => {
      const reports = await Promise.all(cluster.nodes.slice(1).map((node) => node.report()));
      return reports.reduce((sum, { stats }) => sum + (stats.cluster?.reaped ?? 0), 0);
    };
    await until(async () => (await reaped()) === 250, 'the sessions of the dead node to be removed');
    t.same(await cluster.shutDown(), []);
    t.equal(cluster.agent.counters.open, 0);
  },
);

t.test('kill -9 while chat.starts are in flight leaves no chat open', async (t) => {
  const cluster = await Cluster.start(t, { agent: { ignoreAbort: true } });
  const { agent } = cluster;
  const [killed] = cluster.nodes;
  const client = await killed?.connect();
  // The agent has made the chats, and has not answered: only the store knows their ids.
  const gate = agent.hold('chat.start');
  for (let count = 0; count < 20; count += 1) client?.send(to(`agent-${count}`));
  await agent.waitFor(({ counters }) => counters.open === 20);
  await killed?.kill();
  gate.release();
  await until(() => agent.counters.open === 0, 'the chats to be ended');
  t.equal(agent.counters.started, 20);
  t.same(await cluster.shutDown(), []);
});

t.test('kill -9: a chat is ended under the id that its agent has given it', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 2, agent: { chatIds: 'server' } });
  const { agent } = cluster;
  const [killed] = cluster.nodes;
  const client = await killed?.connect();
  t.match(await client?.ask(to('support')), { type: 'response' });
  const [chatId = ''] = agent.chats.keys();
  const stored = async (): Promise<string> => JSON.stringify(await cluster.client.hgetall(await sessionKey(cluster)));
  await until(async () => (await stored()).includes(chatId), 'the id to be stored');
  await killed?.kill();
  await until(() => agent.counters.open === 0, 'the chat to be ended');
  t.match(agent.chats.get(chatId), { status: 'CLOSED' });
});

t.test('a reaper that is killed loses nothing: a third node ends what it had begun', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 2, cleanupTimeout: 500 });
  const { agent } = cluster;
  const [killed, reaper] = cluster.nodes;
  await openChats(cluster, 0, 20);
  const gate = agent.hold('chat.end');
  await killed?.kill();
  await gate.arrived;
  await reaper?.kill();
  const reached = agent.requests.filter(({ method }) => method === 'chat.end').length;
  t.ok(reached > 0);
  gate.release();
  await cluster.add();
  const began = performance.now();
  await until(() => agent.counters.open === 0, 'the chats to be ended');
  const took = performance.now() - began;
  t.ok(took < cluster.bound * 3, `within three times the bound of ${cluster.bound} ms: ${Math.round(took)} ms`);
  await until(async () => {
    const keys = await cluster.client.keys('arc:s:*');
    return keys.length === 0;
  }, 'the sessions to be removed');
  t.same(await cluster.shutDown(), []);
});

t.test('a node that is frozen for longer than its lease sends nothing into chats that others have ended', async (t) => {
  const cluster = await Cluster.start(t);
  const { agent } = cluster;
  const [frozen] = cluster.nodes;
  const [client] = await openChats(cluster, 0, 1);
  frozen?.freeze();
  await until(() => agent.counters.open === 0, 'the chats of the frozen node to be ended');
  const requests = agent.requests.filter(({ method }) => method !== 'chat.end').length;
  // It finds this in its socket when it continues, before any of its timers runs.
  const answer = client?.ask(to('support', 'is anybody there?')).catch(() => undefined);
  frozen?.thaw();
  t.not((await answer)?.type, 'response');
  t.match(await client?.closed, { code: 1012 }, 'the client is to connect again');
  const later = agent.requests.filter(({ method }) => method !== 'chat.end');
  t.equal(later.length, requests, 'no message reached the agent');
  const again = await frozen?.connect();
  t.match(await again?.ask(to('support')), { type: 'response' }, 'the node is back in the cluster');
  again?.socket.close();
  t.same(await cluster.shutDown(), []);
  t.equal(agent.counters.open, 0);
});

t.test('of two processes with the same name the older one is fenced off', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 0 });
  const older = await cluster.add('same');
  const client = await older.connect();
  await client.ask(to('support'));
  const newer = await cluster.add('same');
  t.match(await client.closed, { code: 1012 });
  t.equal((await older.report()).stats.cluster?.state, 'fenced');
  t.match(await (await older.connect()).ask(to('support')), { type: 'error', data: { code: -41002 } });
  t.match(await (await newer.connect()).ask(to('support')), { type: 'response' });
  await until(() => cluster.agent.counters.open === 1, 'the chat of the older one to be ended');
});

t.test('a rolling restart ends the chats of each node and leaves no key', async (t) => {
  const cluster = await Cluster.start(t);
  for (const at of [0, 1, 2]) await openChats(cluster, at, 5);
  const closed: number[] = [];
  for (const node of [...cluster.nodes]) {
    const client = await node.connect();
    void client.closed.then(({ code }) => closed.push(code));
    await client.ask(to('support'));
    await node.kill('SIGTERM');
    await client.closed;
  }
  t.same(closed, [1012, 1012, 1012]);
  t.equal(cluster.agent.counters.open, 0);
  t.same(await cluster.client.keys('*'), []);
});
