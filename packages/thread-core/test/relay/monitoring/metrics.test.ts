import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import t from 'tap';
import { memoryStore } from '../../../src/index.js';
import { RelayMetrics } from '../../../src/relay/monitoring/metrics.js';
import { to, world } from '../helpers.js';

/** The lines of a text in Prometheus' format: name and labels, and the value. */
function read(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

t.test('metrics() has what stats() has, and the durations, in the text format of Prometheus', async (t) => {
  const { agent, relay, connect, sessions } = await world(t);
  await relay.metrics();
  const client = await connect();
  await client.ask(to('support'));
  await client.ask({ ...to('support'), stream: true });
  agent.script('chat.message', { error: { code: -50_007 } });
  await client.ask(to('support'));
  const during = read(await relay.metrics());
  t.equal(during.get('arc_relay_sessions'), 1);
  t.equal(during.get('arc_relay_threads'), 1);
  client.socket.close();
  await sessions[0]?.closed;
  const metrics = read(await relay.metrics());
  const expected = {
    arc_relay_sessions: 0,
    'arc_relay_sends_total{state="response"}': 1,
    'arc_relay_sends_total{state="done"}': 1,
    'arc_relay_sends_total{state="error"}': 1,
    'arc_relay_sends_total{state="cancelled"}': 0,
    arc_relay_chats_started_total: 1,
    arc_relay_chats_ended_total: 1,
    arc_relay_chats_orphaned_total: 0,
    'arc_relay_endpoints{breaker="open"}': 0,
    'arc_relay_connections_refused_total{reason="origin"}': 0,
    'arc_relay_send_duration_seconds_count{state="done"}': 1,
    'arc_relay_send_duration_seconds_count{state="error"}': 1,
    arc_relay_time_to_first_piece_seconds_count: 2,
    arc_relay_session_duration_seconds_count: 1,
  };
  for (const [name, value] of Object.entries(expected)) t.equal(metrics.get(name), value, name);
  const sent = metrics.get('arc_relay_sent_bytes_total') ?? 0;
  t.equal(sent, relay.stats().bytes.sent);
  t.ok(sent > 0);
  const seconds = metrics.get('arc_relay_send_duration_seconds_sum{state="done"}') ?? 0;
  t.ok(seconds > 0 && seconds < 60, `${seconds} seconds`);
});

t.test('the sessions are counted once for a text, and not once for each metric', async (t) => {
  const { relay, connect } = await world(t);
  let asked = 0;
  const metrics = await RelayMetrics.create(() => {
    asked += 1;
    return relay.stats();
  });
  asked = 0;
  await metrics.text();
  await connect();
  t.equal(read(await metrics.text()).get('arc_relay_sessions'), 1);
  t.equal(asked, 2);
});

t.test('a send that began before the first metrics() call has no duration', async (t) => {
  const { agent, relay, connect } = await world(t);
  const client = await connect();
  const gate = agent.hold('chat.start');
  const asked = client.ask(to('support'));
  await gate.arrived;
  await relay.metrics();
  gate.release();
  await asked;
  const metrics = read(await relay.metrics());
  t.equal(metrics.get('arc_relay_sends_total{state="response"}'), 1);
  t.equal(metrics.get('arc_relay_send_duration_seconds_count{state="response"}'), undefined);
});

t.test(
  'no label names a user, a session, an agent or a chat, and the metrics of a cluster exist in a cluster only [S-71]',
  async (t) => {
    const { relay, log, connect, sessions } = await world(t, { cluster: { store: memoryStore(), node: 'a' } });
    await log.line('the node is in the cluster');
    const client = await connect();
    await client.ask({ ...to('agent-7'), context_id: 'context-7', trace_id: 'trace-7' });
    const text = await relay.metrics();
    t.equal(read(text).get('arc_relay_cluster_up'), 1);
    const labels = new Set([...text.matchAll(/([a-z_]+)="/g)].map(([, name]) => name));
    t.strictSame([...labels].sort(), ['breaker', 'le', 'reason', 'state']);
    t.notMatch(text, /-7/);
    t.notMatch(text, sessions[0]?.id ?? '-');
    const alone = await world(t);
    t.notMatch(await alone.relay.metrics(), /^arc_relay_cluster_up /m);
  },
);

t.test('every query of the Grafana dashboard asks for metrics that the relay gives', async (t) => {
  const { relay } = await world(t, { cluster: { store: memoryStore(), node: 'a' } });
  const known = new Set(
    [...(await relay.metrics()).matchAll(/^# TYPE (\S+) (\S+)/gm)].flatMap(([, name, type]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  );
  const file = new URL('../../../../../docs/grafana-dashboard.json', import.meta.url);
  const dashboard = JSON.parse(await readFile(file, 'utf8')) as {
    panels: { title: string; targets: { expr: string }[] }[];
  };
  const asked = new Set<string>();
  for (const { title, targets } of dashboard.panels) {
    t.ok(targets.length > 0, title);
    for (const { expr } of targets) {
      const names = expr.match(/arc_relay_\w+/g) ?? [];
      t.ok(names.length > 0, expr);
      for (const name of names) {
        t.ok(known.has(name), `${title}: ${name}`);
        asked.add(name);
      }
    }
  }
  t.ok(asked.size >= 12, `${asked.size} metrics are shown`);
});

t.test('without prom-client metrics() says what is missing, and everything else works', async (t) => {
  const hooks = `export const resolve = (name, context, next) => {
    if (name === 'prom-client') throw Object.assign(new Error('not here'), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(name, context);
  };`;
  const program = `
    import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}));
    const { createRelay } = await import(${JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href)});
    const relay = createRelay({ endpoint: 'http://127.0.0.1:1/arc' });
    const message = await relay.metrics().catch((error) => error.message);
    console.log(JSON.stringify([message, relay.health().status]));
    await relay.close();`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  t.strictSame(JSON.parse(stdout), ['relay.metrics() needs the package prom-client, which is not installed', 'ok']);
});

t.test('docs/monitoring.md lists every metric', async (t) => {
  const { relay } = await world(t, { cluster: { store: memoryStore(), node: 'a' } });
  const given = [...(await relay.metrics()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  const document = await readFile(new URL('../../../../../docs/monitoring.md', import.meta.url), 'utf8');
  const listed = new Set([...document.matchAll(/`(arc_relay_\w+)`/g)].map(([, name]) => name));
  t.strictSame([...listed].sort(), given.sort());
});
