import t from 'tap';
import { ArcClient, memoryStore } from '../../../src/index.js';
import { readHealth } from '../../../src/relay/monitoring/health.js';
import { faults } from '../../../src/testing/index.js';
import { to, world } from '../helpers.js';

t.test(
  'health() says whether the relay serves clients: agents that fail make it degraded, closing unavailable',
  async (t) => {
    const { agent, relay, connect } = await world(t, { leaks: true, cleanupTimeout: 100 });
    t.strictSame(relay.health(), { status: 'ok', closing: false, breakers: [], store: undefined });
    // Two, because the failures of one session alone do not open a breaker.
    const clients = [await connect(), await connect()];
    for (const method of ['chat.start', 'chat.end'] as const) agent.script(method, { ...faults.html(502), times: 999 });
    for (let sends = 0; relay.health().status === 'ok' && sends < 50; sends += 1) {
      for (const client of clients) await client.ask(to('support'));
    }
    t.match(relay.health(), {
      status: 'degraded',
      closing: false,
      breakers: [{ address: agent.endpoint, state: 'open' }],
    });
    const closing = relay.close();
    t.match(relay.health(), { status: 'unavailable', closing: true });
    await closing;
  },
);

t.test('in a cluster, health() has the state of its store', async (t) => {
  const client = new ArcClient({ endpoint: 'http://127.0.0.1:1/arc' });
  t.teardown(() => client.close());
  const { relay, log } = await world(t, { client, cluster: { store: memoryStore(), node: 'a' } });
  await log.line('the node is in the cluster');
  t.strictSame(relay.health(), { status: 'ok', closing: false, breakers: [], store: 'ok' });
  const statusWith = (state: 'ok' | 'degraded' | 'fenced' | 'away'): string =>
    readHealth(
      { breakers: [], cluster: { state, sessions: 0, reaped: 0, claimed: 0, handedOver: 0, gateways: 0 } },
      false,
    ).status;
  t.equal(statusWith('degraded'), 'degraded');
  t.equal(statusWith('away'), 'degraded', 'open threads continue');
  t.equal(statusWith('fenced'), 'unavailable', 'another node may have its sessions');
});
