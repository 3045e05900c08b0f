// What an application writes on @arc/thread-client, which test/types.test.ts compiles as its users may: it is never run.
import {
  AgentError,
  CancelledError,
  createThreadClient,
  LimitError,
  type Piece,
  type SendOptions,
  SessionLostError,
  type StorageLike,
  type ThreadClient,
  type ThreadClientOptions,
  textOf,
} from '@arc/thread-client';
import { WebSocket } from 'undici';

declare const sessionStorage: StorageLike;
declare const settings: {
  relay: string;
  attempts?: { min?: number };
  span?: { traceparent: string; tracestate?: string };
};

const client: ThreadClient = createThreadClient({ url: '/ws' });
const { span, attempts } = settings;

/** What an application may not have is passed on as it is, in all options. */
const options: ThreadClientOptions = {
  url: async () => settings.relay,
  protocols: ['arc'],
  WebSocket,
  resume: undefined,
  storage: sessionStorage,
  backoff: { min: attempts?.min, max: undefined },
  shouldRetry: ({ code }) => (code === 1008 ? true : undefined),
  signal: undefined,
};
createThreadClient(options);
createThreadClient({
  ...options,
  protocols: undefined,
  storage: undefined,
  backoff: undefined,
  shouldRetry: undefined,
});

const turn = client.send('support', 'Hello', {
  stream: true,
  metadata: { plan: 'free' },
  signal: AbortSignal.timeout(1),
});
/** A turn and a thread say which conversation they belong to, which is how to name it again. */
const again: SendOptions = { contextId: turn.contextId, traceId: turn.traceId, stream: undefined, metadata: undefined };
client.send(turn.agentId, { role: 'user', parts: [{ type: 'text', content: 'Hello' }] }, again);
client.send('support', 'Hello', { traceContext: { traceparent: span?.traceparent, tracestate: span?.tracestate } });
client.send('support', 'Hello', { traceContext: undefined, signal: undefined });
for (const { agentId, contextId } of client.threads()) {
  if (agentId !== undefined) await client.end(agentId, { contextId, reason: undefined });
}

try {
  for await (const { type, text, event } of turn) if (type === 'event') text.concat(event ?? '');
  const pieces: Piece[] = [];
  const last: unknown = await turn.result;
  pieces.push({ type: 'response', data: last, text: await turn.text() });
} catch (error) {
  if (error instanceof AgentError) error.code.toFixed();
  if (error instanceof CancelledError) error.code satisfies 'CANCELLED';
  if (error instanceof LimitError) error.code satisfies 'QUEUE_FULL' | 'UNREAD' | 'UNSENT';
  if (error instanceof SessionLostError) error.reason.trim();
}

const stop: () => void = client.on('state', (state) => {
  if (state.status === 'open') return state.resumed;
  if (state.status === 'waiting') return state.retryAt?.toFixed();
  return state.status === 'closed' && state.error.reason;
});
client.on('interrupted', ({ id }, error) => id.concat(error.message));
client.on('lost', ({ reason }) => reason.length);
textOf({ parts: [] }).trim();
stop();

// @ts-expect-error: no address
createThreadClient({});
// @ts-expect-error: there is no such event
client.on('open', () => {});
// @ts-expect-error: pieces are read only
for await (const piece of turn) piece.text = '';
