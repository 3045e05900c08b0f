import type { TraceContext } from '@arc/thread-core';
import {
  type BaggageEntry,
  baggageEntryMetadataFromString,
  type Context,
  createTraceState,
  propagation,
  ROOT_CONTEXT,
  trace,
} from '@opentelemetry/api';

/** Members of a baggage; W3C Baggage lets a receiver drop what exceeds this. */
const MAX_MEMBERS = 64;

/** The context of a client's frame. Its fields are valid, or absent. */
export function readClientContext({ traceparent, tracestate, baggage }: TraceContext): Context {
  const withSpan = traceparent === undefined ? ROOT_CONTEXT : withRemoteSpan(traceparent, tracestate);
  return baggage === undefined ? withSpan : withBaggage(withSpan, baggage);
}

function withRemoteSpan(traceparent: string, tracestate: string | undefined): Context {
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    // Only the flag "sampled" is defined.
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true,
    ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
  });
}

function withBaggage(context: Context, text: string): Context {
  const entries: Record<string, BaggageEntry> = {};
  for (const member of text.split(',').slice(0, MAX_MEMBERS)) {
    const [pair = '', ...properties] = member.split(';');
    const at = pair.indexOf('=');
    const key = decode(pair.slice(0, at).trim());
    const value = decode(pair.slice(at + 1).trim());
    if (at < 1 || key === undefined || key === '' || value === undefined) continue;
    const metadata = properties.join(';').trim();
    entries[key] = metadata === '' ? { value } : { value, metadata: baggageEntryMetadataFromString(metadata) };
  }
  return propagation.setBaggage(context, propagation.createBaggage(entries));
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
