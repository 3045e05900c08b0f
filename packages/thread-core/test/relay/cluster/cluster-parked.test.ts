// Sessions without anything, which the store keeps for their clients.
import t from 'tap';
import { until } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

t.test('connections that are dropped at once leave a bounded number of sessions in the store [S-130]', async (t) => {
  const users = Array.from({ length: 60 }, (_, index) => (index < 40 ? 'ann' : 'bob'));
  const { store, nodes } = await cluster(t, 1, { resume: { maxDetached: 15, grace: 60_000 } });
  const [a] = nodes as [ClusterNode];
  a.server.removeAllListeners('connection');
  a.server.on('connection', (socket, request) => a.relay.attach(socket, request, { identity: users.shift() }));
  const count = async (user: string): Promise<number> => (await store.sessionsOf(user)).length;
  while (users.length > 0) {
    const [client] = await a.resume();
    client.socket.terminate();
    await until(() => a.relay.stats().sessions === 0, 'the session to be left to the store, or ended');
  }
  t.equal(await count('ann'), 10, 'no more than ten of one user');
  t.equal(await count('bob'), 5, 'no more than maxDetached of all');
});

t.test('when their grace is over, others find room in the store [S-130]', async (t) => {
  const { store, nodes } = await cluster(t, 1, { resume: { maxDetached: 1, grace: 300 }, lease: 300 });
  const [a] = nodes as [ClusterNode];
  const leave = async (): Promise<string> => {
    const [client, { session }] = await a.resume();
    client.socket.terminate();
    await until(() => a.relay.stats().sessions === 0, 'the session to be left to the store, or ended');
    return session.split('.')[0] as string;
  };
  const kept = async (): Promise<string[]> => (await store.sessionsOf('me')).map(({ sid }) => sid);
  const first = await leave();
  await leave();
  t.strictSame(await kept(), [first]);
  await until(async () => (await kept()).length === 0, 'the first to be ended');
  const third = await leave();
  t.strictSame(await kept(), [third]);
});
