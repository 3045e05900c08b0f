import { to } from '@arc/test-client';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import type { Histogram } from '@opentelemetry/sdk-metrics';
import t from 'tap';
import { ArcInstrumentation } from '../src/index.js';
import { meterProvider, readMetrics, world } from './world.js';

t.test(
  'the metrics count sends, first chunks and sessions, without an attribute of a user, an agent or a chat [S-71]',
  async (t) => {
    const instrumentation = new ArcInstrumentation({ enabled: false });
    registerInstrumentations({ meterProvider, instrumentations: [instrumentation] });
    t.teardown(() => instrumentation.disable());
    const all = await world(t);
    const clients = [await all.connect(), await all.connect()];
    const [client] = clients;
    if (client === undefined) return t.fail('no client');
    await client.ask(to('support'));
    await client.ask({ ...to('support'), stream: true });
    all.agent.script('chat.message', { error: { code: -50_007 } }, { error: { code: -43_005 } });
    await client.ask(to('support'));
    await client.ask(to('support'));
    t.match((await readMetrics()).get('arc.relay.active_sessions')?.dataPoints, [{ value: 2 }]);
    client.socket.close();
    await all.sessions[0]?.closed;
    const metrics = await readMetrics();
    const points = (name: string) =>
      metrics.get(name)?.dataPoints.map(({ attributes, value }) => [attributes, (value as Histogram).count ?? value]);
    const operation = { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.provider.name': 'arc' };
    for (const name of ['gen_ai.client.invoke_agent.duration', 'gen_ai.client.operation.duration']) {
      t.strictSame(points(name), [
        [operation, 2],
        [{ ...operation, 'error.type': '_OTHER' }, 1],
        [{ ...operation, 'error.type': '-43005' }, 1],
      ]);
    }
    t.strictSame(points('gen_ai.client.operation.time_to_first_chunk'), [[operation, 1]]);
    t.strictSame(points('arc.relay.active_sessions'), [[{}, 1]]);
    t.strictSame(points('arc.relay.session.duration'), [[{}, 1]]);
    for (const name of ['gen_ai.client.invoke_agent.duration', 'arc.relay.session.duration']) {
      t.equal(metrics.get(name)?.descriptor.unit, 's');
    }
  },
);
