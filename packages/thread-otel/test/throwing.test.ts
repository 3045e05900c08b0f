import { to } from '@arc/test-client';
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { BasicTracerProvider, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import t from 'tap';
import { ArcInstrumentation } from '../src/index.js';
import { meterProvider, readMetrics, world } from './world.js';

const broken = (): never => {
  throw new Error('broken');
};

t.test('a span processor that throws neither ends the process nor changes an answer', async (t) => {
  const problems: string[] = [];
  const ignore = (): void => {};
  const error = (message: string): void => void problems.push(message);
  diag.setLogger({ error, warn: ignore, info: ignore, debug: ignore, verbose: ignore }, DiagLogLevel.ERROR);
  for (const processor of [{ onStart: broken }, { onEnd: broken }]) {
    const complete = {
      onStart: ignore,
      onEnd: ignore,
      forceFlush: async () => {},
      shutdown: async () => {},
      ...processor,
    };
    const tracerProvider = new BasicTracerProvider({ spanProcessors: [complete as SpanProcessor] });
    const instrumentation = new ArcInstrumentation({ enabled: false });
    registerInstrumentations({ tracerProvider, meterProvider, instrumentations: [instrumentation] });
    const all = await world(t);
    const client = await all.connect();
    t.match(await client.ask(to('support')), { type: 'response' });
    client.socket.close();
    await all.sessions[0]?.closed;
    instrumentation.disable();
    t.ok(problems.length >= 2, `${problems.length} problems are told`);
    t.match(problems.splice(0)[0], /thread-otel/);
  }
  const [point] = (await readMetrics()).get('gen_ai.client.invoke_agent.duration')?.dataPoints ?? [];
  t.match(point?.value, { count: 2 }, 'the metrics are complete');
});
