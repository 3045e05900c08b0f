import { type Frame, to } from '@arc/test-client';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import t from 'tap';
import { ArcInstrumentation } from '../src/index.js';
import { openSpans, takeSpans, tracerProvider, world } from './world.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const browser = (span: string) => ({ traceparent: `00-${TRACE}-${span}-01`, baggage: 'plan=gold' });
const idOf = (span: ReadableSpan | undefined): string | undefined => span?.spanContext().spanId;
const isHttp = ({ name }: ReadableSpan): boolean => name === 'POST';

for (const order of ['before', 'after'] as const) {
  t.test(
    `with undici's instrumentation, enabled ${order} ours, its span is in ours and sends its own context, once`,
    async (t) => {
      const makers = [() => new UndiciInstrumentation(), () => new ArcInstrumentation()];
      // Each subscribes when it is created.
      const instrumentations = (order === 'before' ? makers : makers.reverse()).map((make) => make());
      registerInstrumentations({ tracerProvider, instrumentations });
      t.teardown(() => {
        for (const each of instrumentations) each.disable();
        takeSpans();
      });
      takeSpans();
      const all = await world(t);
      const ws = await all.connect();
      const parents = Array.from({ length: 24 }, (_, index) => (index + 1).toString(16).padStart(16, 'b'));
      for (const [index, parent] of parents.entries()) {
        ws.send({ ...to(`agent-${index}`, 'hello', { id: index, stream: index % 2 === 0 }), ...browser(parent) });
      }
      const ends: Frame[] = [];
      while (ends.length < parents.length) ends.push((await ws.answer()).at(-1) as Frame);
      const spans = takeSpans();
      t.strictSame(openSpans(), []);
      t.equal(spans.filter(isHttp).length, parents.length);
      for (const [index, parent] of parents.entries()) {
        const send = spans.find(({ name }) => name === `invoke_agent agent-${index}`);
        const call = spans.find(
          ({ name, parentSpanContext }) => name === 'chat.start' && parentSpanContext?.spanId === idOf(send),
        );
        const http = spans.find((span) => isHttp(span) && span.parentSpanContext?.spanId === idOf(call));
        t.strictSame([send?.parentSpanContext?.spanId, call !== undefined, http !== undefined], [parent, true, true]);
        const request = all.agent.requests.find(({ agentId }) => agentId === `agent-${index}`);
        // Node joins headers that were sent twice with a comma.
        t.equal(request?.headers.traceparent, `00-${TRACE}-${idOf(http)}-01`);
        t.equal(request?.headers.baggage, 'plan=gold');
      }
    },
  );
}

t.test("without undici's instrumentation each request has the context of its call, once", async (t) => {
  const arc = new ArcInstrumentation({ enabled: false });
  registerInstrumentations({ tracerProvider, instrumentations: [arc] });
  t.teardown(() => arc.disable());
  const all = await world(t);
  const client = await all.connect();
  await client.ask({ ...to('support'), ...browser('b7ad6b7169203331') });
  await client.ask({ ...to('support'), ...browser('b7ad6b7169203332') });
  const calls = takeSpans().filter(({ name }) => name.startsWith('chat.'));
  t.strictSame(
    all.agent.requests.map(({ headers }) => headers.traceparent),
    calls.map((span) => `00-${TRACE}-${idOf(span)}-01`),
  );
  arc.disable();
  await client.ask({ ...to('support'), ...browser('b7ad6b7169203333') });
  t.equal(all.agent.requests[2]?.headers.traceparent, undefined, 'nothing is traced once it is disabled');
  t.strictSame(takeSpans(), []);
});
