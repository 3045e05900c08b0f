import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Client } from '@arc/test-client';
import {
  createRelay,
  memoryStore,
  type Relay,
  type RelayOptions,
  type Session,
  type SessionStore,
  StoreError,
} from '@arc/thread-core';
import { startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import type { Test } from 'tap';
import { type WebSocket, WebSocketServer } from 'ws';

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(
  new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
);

/** Counts the spans that are open. */
class OpenSpans implements SpanProcessor {
  readonly names: string[] = [];

  onStart({ name }: { name: string }): void {
    this.names.push(name);
  }

  onEnd({ name }: ReadableSpan): void {
    this.names.splice(this.names.indexOf(name), 1);
  }

  async forceFlush(): Promise<void> {}
  async shutdown(): Promise<void> {}
}

const exporter = new InMemorySpanExporter();
const open = new OpenSpans();
export const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter), open] });
trace.setGlobalTracerProvider(tracerProvider);

/** The spans so far, in the order in which they ended; they are forgotten. */
export function takeSpans(): ReadableSpan[] {
  const spans = exporter.getFinishedSpans();
  exporter.reset();
  return spans;
}

/** The names of the spans that have begun and not ended. */
export const openSpans = (): readonly string[] => open.names;

const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 });
export const meterProvider = new MeterProvider({ readers: [reader] });

/** All metrics, by name. */
export async function readMetrics(): Promise<Map<string, MetricData>> {
  await reader.forceFlush();
  const [latest] = metricExporter.getMetrics().slice(-1);
  const all = latest?.scopeMetrics.flatMap(({ metrics }) => metrics) ?? [];
  return new Map(all.map((metric) => [metric.descriptor.name, metric]));
}

interface RelayNode {
  relay: Relay;
  sessions: Session[];
  sockets: WebSocket[];
  connect(): Promise<Client>;
  close(): Promise<void>;
}

/** A relay, and the WebSocket server in front of it. */
async function startRelay(agent: TestAgent, options: Partial<RelayOptions>): Promise<RelayNode> {
  const relay = createRelay({ endpoint: agent.endpoint, ...options });
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...relay.wsOptions });
  const sessions: Session[] = [];
  const sockets: WebSocket[] = [];
  server.on('connection', (socket, request) => {
    sockets.push(socket);
    sessions.push(relay.attach(socket, request, { identity: { id: 'ada' } }));
  });
  await once(server, 'listening');
  const clients: Client[] = [];
  const close = async (): Promise<void> => {
    for (const { socket } of clients) socket.terminate();
    await relay.close({ timeout: 0 });
    await new Promise((resolve) => server.close(resolve));
  };
  const connect = async (): Promise<Client> => {
    const client = await Client.open(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    clients.push(client);
    return client;
  };
  return { relay, sessions, sockets, connect, close };
}

export interface World extends RelayNode {
  agent: TestAgent;
}

/** An agent, and a relay in front of it. */
export async function world(t: Test, options: Partial<RelayOptions> = {}): Promise<World> {
  const agent = await startTestAgent();
  const node = await startRelay(agent, options);
  t.teardown(async () => {
    await node.close();
    await agent.close();
  });
  return { agent, ...node };
}

export interface ClusterNode extends RelayNode {
  /** While it is set, the node cannot reach the store. */
  isCutOff: boolean;
}

/** An agent, and two relays in front of it that share a store. Both trace to the same exporter. */
export async function cluster(t: Test): Promise<{ agent: TestAgent; nodes: [ClusterNode, ClusterNode] }> {
  const agent = await startTestAgent();
  const store = memoryStore();
  const start = async (name: string): Promise<ClusterNode> => {
    const cut = { isCutOff: false };
    const reachable: SessionStore = new Proxy(store, {
      get: (target, method) => {
        const value = Reflect.get(target, method) as unknown;
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]) => {
          if (cut.isCutOff) throw new StoreError('away', 'cut off');
          return value.apply(target, args);
        };
      },
    });
    const options = { resume: true, cluster: { store: reachable, node: name, lease: 200 } };
    return Object.assign(cut, await startRelay(agent, options));
  };
  const nodes: [ClusterNode, ClusterNode] = [await start('a'), await start('b')];
  t.teardown(async () => {
    for (const node of nodes) {
      node.isCutOff = false;
      await node.close();
    }
    await agent.close();
  });
  return { agent, nodes };
}
