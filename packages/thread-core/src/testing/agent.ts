import { type ArcMessage, type ArcPart, textOf } from '@arc/thread-protocol';

/** One message for an agent, and everything the agent may want to know to answer it. */
export interface AgentTurn {
  agentId: string;
  /** The chat that the message belongs to; for `task.*` methods the task's id. */
  chatId: string;
  method: 'chat.start' | 'chat.message' | 'task.create' | 'task.send';
  message: ArcMessage;
  /** What both sides said before `message`, oldest first. */
  history: readonly ArcMessage[];
  traceId: string | undefined;
  metadata: Record<string, unknown> | undefined;
  /** Whether the client asked for the answer piece by piece. */
  stream: boolean;
  /** Aborts when the client has closed its socket, and when the server is closed. */
  signal: AbortSignal;
}

/** A stream event of the agent's own. A JSON answer leaves it out, except `error`, which fails the turn in both. */
export interface AgentEvent {
  event: string;
  data?: unknown;
  type?: never;
}

/** A piece of an answer: text, a part that is not text, or an event of the agent's own. */
export type AgentPiece = string | ArcPart | AgentEvent;

/** A whole answer: one piece, or several in order. */
export type AgentReply = string | ArcPart | AgentEvent | readonly AgentPiece[];

/**
 * An agent. The same handler serves both kinds of request: its pieces become the events of a stream, or are put
 * together in one JSON answer. An `ArcError` that it throws keeps its code; any other error is -32603.
 */
export type AgentHandler = (turn: AgentTurn) => AgentReply | Promise<AgentReply> | AsyncIterable<AgentPiece>;

/** The agent that a test agent has for every id: answers `<agent> #<turn>: <text>`, a word at a time. */
export const echo: AgentHandler = async function* echo({ agentId, message, history }) {
  const turn = 1 + history.filter(({ role }) => role === 'user').length;
  yield* `${agentId} #${turn}: ${textOf(message)}`.match(/\S+\s*/g) ?? [];
};

/** @internal */
export function isEvent(piece: AgentPiece): piece is AgentEvent {
  return typeof piece === 'object' && typeof piece.event === 'string' && piece.type === undefined;
}

/** @internal */
export function partOf(piece: string | ArcPart): ArcPart {
  return typeof piece === 'string' ? { type: 'TextPart', content: piece } : piece;
}

/** Adds a piece to the parts of a whole message, in which neighbouring texts are one part. @internal */
export function append(parts: ArcPart[], piece: string | ArcPart): void {
  const last = parts.at(-1);
  if (typeof piece === 'string' && last?.type === 'TextPart') last.content += piece;
  else parts.push({ ...partOf(piece) });
}

/** The pieces of an answer however the handler gives them, until the signal aborts. @internal */
export async function* piecesOf(handler: AgentHandler, turn: AgentTurn): AsyncGenerator<AgentPiece> {
  const reply = handler(turn);
  if (typeof reply === 'object' && Symbol.asyncIterator in reply) {
    const pieces = (reply as AsyncIterable<AgentPiece>)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const { done, value } = await abortable(pieces.next(), turn.signal);
        if (done) return;
        yield value;
      }
    } finally {
      // Not awaited: a generator that waits for something of its own would hold up the abandoned request.
      pieces.return?.().catch(() => {});
    }
  }
  const given = await abortable(Promise.resolve(reply as AgentReply), turn.signal);
  yield* Array.isArray(given) ? (given as readonly AgentPiece[]) : [given as AgentPiece];
}

/** The promise, or the signal's reason as soon as it aborts. @internal */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
