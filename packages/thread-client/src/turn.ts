import { type RelayFrame, textOf } from '@arc/thread-protocol';
import { AgentError, CancelledError, InterruptedError, LimitError } from './errors.js';
import type { Entry } from './outbox.js';
import { type Piece, PieceBuffer } from './piece-buffer.js';

/** One message, and its answer. Iterate it for the pieces of the answer as they arrive. */
export interface Turn extends AsyncIterable<Piece> {
  readonly id: string;
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
  readonly traceId: string | undefined;
  /**
   * The last frame's data: what the agent said with `done`, or its whole envelope. Rejects with `AgentError`,
   * `CancelledError`, `InterruptedError`, `SessionLostError`, `ClosedError` or `LimitError`.
   */
  readonly result: Promise<unknown>;
  /** The agent has forgotten what was said before, and answered in a new chat. Known once the turn has ended. */
  readonly restarted: boolean;
  /** The turn has ended, in whatever way. */
  readonly settled: boolean;
  /** The text of all pieces, once the turn has ended. Rejects as `result` does. */
  text(): Promise<string>;
  /** Abandons the turn. Leaving a loop over it does not. */
  cancel(): void;
}

/** A promise that may be left unobserved when it rejects. */
class Outcome<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;

  constructor() {
    this.promise = observed(
      new Promise<T>((resolve, reject) => {
        this.resolve = resolve;
        this.reject = reject;
      }),
    );
  }
}

export function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

export interface RequestFields {
  readonly id: string;
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
  readonly traceId?: string | undefined;
}

/** What `end` is waiting for. */
export class EndRequest {
  readonly id: string;
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
  readonly frame: string;
  readonly #outcome = new Outcome<void>();
  entry: Entry | undefined;

  constructor({ id, agentId, contextId }: RequestFields, frame: string) {
    this.id = id;
    this.agentId = agentId;
    this.contextId = contextId;
    this.frame = frame;
  }

  get done(): Promise<void> {
    return this.#outcome.promise;
  }

  finish(): void {
    this.#outcome.resolve();
  }

  fail(error: unknown): void {
    this.#outcome.reject(error);
  }
}

/** What a turn asks of its session. */
export interface TurnHost {
  cancel(turn: ClientTurn): void;
  /** The turn has become full, or is no longer full. */
  changed(): void;
}

export class ClientTurn implements Turn {
  readonly id: string;
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
  readonly traceId: string | undefined;
  restarted = false;
  settled = false;
  cancelling = false;
  /** Its message frame. Kept after it has arrived, for its number. */
  entry: Entry | undefined;
  readonly #host: TurnHost;
  readonly #buffer: PieceBuffer;
  readonly #outcome = new Outcome<unknown>();
  #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.cancel();

  constructor({ id, agentId, contextId, traceId }: RequestFields, host: TurnHost) {
    this.id = id;
    this.agentId = agentId;
    this.contextId = contextId;
    this.traceId = traceId;
    this.#host = host;
    this.#buffer = new PieceBuffer(() => host.changed());
  }

  get result(): Promise<unknown> {
    return this.#outcome.promise;
  }

  get full(): boolean {
    return this.#buffer.full;
  }

  text(): Promise<string> {
    return observed(this.#join());
  }

  cancel(): void {
    if (this.settled || this.cancelling) return;
    this.cancelling = true;
    this.#host.cancel(this);
  }

  cancelOn(signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) this.cancel();
    if (this.settled) return;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort);
  }

  [Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    return this.#buffer[Symbol.asyncIterator]();
  }

  /** Takes one of its frames; `size` in characters. */
  receive(frame: RelayFrame, size: number): void {
    switch (frame.type) {
      case 'content':
      case 'metadata':
      case 'event':
        this.#push(frame, size);
        break;
      case 'response':
        this.#push({ type: frame.type, data: frame.response }, size);
        this.#finish(frame, frame.response);
        break;
      case 'done':
        this.#finish(frame, frame.data);
        break;
      case 'error':
        this.restarted ||= frame.restarted === true;
        this.fail(new AgentError(frame.data));
        break;
      case 'cancelled':
        this.restarted ||= frame.restarted === true;
        this.fail(this.cancelling ? this.cancelled() : new InterruptedError());
        break;
      default:
    }
  }

  /** Takes the frames over that were stored; `undefined` where they were too many. */
  restore(frames: readonly string[] | undefined): void {
    if (frames === undefined) this.#buffer.skip();
    else for (const text of frames) this.receive(JSON.parse(text) as RelayFrame, text.length);
  }

  cancelled(): CancelledError {
    return new CancelledError(this.#signal?.aborted === true ? { cause: this.#signal.reason } : undefined);
  }

  fail(error: unknown): void {
    if (!this.#settle()) return;
    this.#buffer.end(error);
    this.#outcome.reject(error);
  }

  #push({ type, data, ...rest }: Pick<Piece, 'type' | 'data' | 'event'>, size: number): void {
    const text = type === 'content' || type === 'response' ? textOf(data) : '';
    const piece: Piece = { type, ...(type === 'event' && { event: rest.event }), data, text };
    if (this.#buffer.push(piece, size)) return;
    this.cancel();
    this.fail(new LimitError('UNREAD', 'Too much of the answer was not read'));
  }

  #finish({ restarted }: { restarted?: true }, value: unknown): void {
    this.restarted ||= restarted === true;
    if (!this.#settle()) return;
    this.#buffer.end();
    this.#outcome.resolve(value);
  }

  #settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    return true;
  }

  async #join(): Promise<string> {
    let text = '';
    for await (const piece of this) text += piece.text;
    return text;
  }
}

export type Request = ClientTurn | EndRequest;
