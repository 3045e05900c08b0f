import type { TraceContext } from './send-request.js';

/** Characters. Longer ones are ignored: a version after 00 may be longer than 55, tracestate and baggage have limits of their own. */
const MAX_TRACEPARENT = 512;
const MAX_TRACESTATE = 512;
const MAX_BAGGAGE = 8192;

/** Version 00, or the beginning of a later version. All-zero ids and version ff are invalid. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|-)/;

/** What may stand in an HTTP header. */
const PRINTABLE = /^[\t\x20-\x7e]+$/;

/**
 * Reads what a client sent as its trace context, and leaves out what is invalid, as W3C Trace Context demands: without a
 * valid `traceparent`, `tracestate` is ignored.
 */
export function readTraceContext(fields: { [Name in keyof TraceContext]: unknown }): TraceContext {
  const traceparent = readTraceparent(fields.traceparent);
  const tracestate = traceparent === undefined ? undefined : readHeader(fields.tracestate, MAX_TRACESTATE);
  const baggage = readHeader(fields.baggage, MAX_BAGGAGE);
  return { traceparent, tracestate, baggage };
}

function readTraceparent(value: unknown): string | undefined {
  const text = readHeader(value, MAX_TRACEPARENT);
  if (text === undefined || !TRACEPARENT.test(text)) return undefined;
  return text.startsWith('00') && text.length !== 55 ? undefined : text;
}

function readHeader(value: unknown, maxLength: number): string | undefined {
  const isValid = typeof value === 'string' && value.length <= maxLength && PRINTABLE.test(value);
  return isValid ? value : undefined;
}
