import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import type { Test } from 'tap';
import { openSpans } from './world.js';

/** The trace that the browser began. */
export const TRACE = '0af7651916cd43dd8448eb211c80319c';
export const BROWSER_SPAN = 'b7ad6b7169203331';
/** The fields of a message frame that say so. */
export const BROWSER = {
  traceparent: `00-${TRACE}-${BROWSER_SPAN}-01`,
  tracestate: 'vendor=1',
  baggage: 'plan=gold,user=7',
};

export const parentOf = ({ parentSpanContext }: ReadableSpan): string | undefined => parentSpanContext?.spanId;
export const named = (spans: readonly ReadableSpan[], name: string): ReadableSpan[] =>
  spans.filter((span) => span.name === name);

/** Nothing is open, and each parent is another span or that of the browser. */
export function checkTree(t: Test, spans: readonly ReadableSpan[]): void {
  t.strictSame(openSpans(), [], 'each span has ended');
  const ids = new Set([BROWSER_SPAN, ...spans.map((span) => span.spanContext().spanId)]);
  for (const span of spans) {
    const parent = parentOf(span);
    if (parent !== undefined && !ids.has(parent)) t.fail(`${span.name} is an orphan`);
    if (span.name.startsWith('invoke_agent')) t.equal(parent, BROWSER_SPAN, span.name);
    else if (span.name === 'chat.end') t.equal(parent, undefined, span.name);
    else t.match(spans.find((other) => other.spanContext().spanId === parent)?.name, /^invoke_agent/, span.name);
  }
}
