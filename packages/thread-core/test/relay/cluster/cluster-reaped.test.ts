// Sessions that other nodes have ended, while their node could not reach the store.
import t from 'tap';
import { memoryStore } from '../../../src/index.js';
import { startTestAgent } from '../../../src/testing/index.js';
import { to, until } from '../helpers.js';
import { ClusterNode } from './cluster-helpers.js';

for (const comesFirst of ['the chat', 'the store'] as const) {
  t.test(
    `a chat that is made after others have ended its session is ended, if ${comesFirst} comes first [S-138]`,
    async (t) => {
      const agent = await startTestAgent({ createChat: 'when-ready', ignoreAbort: true });
      const store = memoryStore();
      const [a, b] = [new ClusterNode(store, agent, { node: 'a' }), new ClusterNode(store, agent, { node: 'b' })];
      t.teardown(async () => {
        for (const node of [a, b]) await node.close();
        await agent.close();
      });
      await until(() => a.state === 'ok' && b.state === 'ok', 'the nodes to join');
      const client = await a.connect();
      const gate = agent.hold('chat.start');
      client.send(to('support', 'x', { id: 1 }));
      await gate.arrived;
      a.isCutOff = true;
      await until(() => b.relay.stats().cluster?.reaped === 1, 'its session to be ended by the other node');
      if (comesFirst === 'the chat') {
        gate.release();
        t.match(await client.next(), { type: 'response', id: 1 });
      }
      a.isCutOff = false;
      t.equal((await client.closed).code, 1012);
      gate.release();
      await agent.waitFor(({ counters }) => counters.started === 1);
      await agent.waitFor('idle');
    },
  );
}
