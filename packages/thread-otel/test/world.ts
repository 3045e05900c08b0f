import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Client } from '@arc/test-client';
import { createRelay, type Relay, type RelayOptions, type Session } from '@arc/thread-core';
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

export interface World {
  agent: TestAgent;
  relay: Relay;
  sessions: Session[];
  sockets: WebSocket[];
  connect(): Promise<Client>;
}

/** An agent, and a relay in front of it. */
export async function world(t: Test, options: Partial<RelayOptions> = {}): Promise<World> {
  const agent = await startTestAgent();
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
  t.teardown(async () => {
    for (const { socket } of clients) socket.terminate();
    await relay.close({ timeout: 0 });
    await new Promise((resolve) => server.close(resolve));
    await agent.close();
  });
  const connect = async (): Promise<Client> => {
    const client = await Client.open(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    clients.push(client);
    return client;
  };
  return { agent, relay, sessions, sockets, connect };
}
