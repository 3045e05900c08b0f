import { type RelayFrame, textOf } from '@arc/thread-protocol';
import { AgentError, CancelledError, InterruptedError, LimitError } from './errors.js';
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
function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

export interface RequestFields {
  readonly id: string;
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
  readonly traceId?: string | undefined;
  /** The whole frame of an `end`, to be repeated. Absent for messages. */
  readonly end?: object | undefined;
}

/** What a turn asks of its session. */
export interface TurnHost {
  cancel(turn: ClientTurn): void;
  /** The turn has become full, or is no longer full. */
  onFullChange(): void;
}

/** A message or an `end`, and what is known of its answer. */
export class ClientTurn implements Turn {
  // `declare` saves bytes: these have no initial value.
  declare readonly id: string;
  declare readonly agentId: string | undefined;
  declare readonly contextId: string | undefined;
  declare readonly traceId: string | undefined;
  declare readonly end: object | undefined;
  restarted = false;
  settled = false;
  cancelling = false;
  /** Why it failed. */
  declare error: unknown;
  /** The number of its frame in the session; undefined until it is sent, and Infinity if only the page before has queued it. */
  declare number: number | undefined;
  declare readonly fields: RequestFields;
  declare readonly result: Promise<unknown>;
  readonly #host: TurnHost;
  declare readonly buffer: PieceBuffer;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;
  #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.cancel();

  constructor(fields: RequestFields, host: TurnHost) {
    Object.assign(this, fields);
    this.fields = fields;
    this.#host = host;
    this.result = observed(
      new Promise((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
      }),
    );
    this.buffer = new PieceBuffer(() => host.onFullChange());
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
    this.#signal = signal;
    if (signal?.aborted) this.cancel();
    else if (!this.settled) signal?.addEventListener('abort', this.#onAbort);
  }

  [Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    return this.buffer[Symbol.asyncIterator]();
  }

  /** Takes one of its frames; `size` in characters. */
  receive(frame: RelayFrame, size: number): void {
    if ((frame as { restarted?: boolean }).restarted) this.restarted = true;
    switch (frame.type) {
      case 'content':
      case 'metadata':
      case 'event':
        return this.#push(frame, size);
      case 'response':
        this.#push({ type: frame.type, data: frame.response }, size);
        return this.finish(frame.response);
      case 'done':
      case 'ended':
        return this.finish((frame as { data?: unknown }).data);
      case 'error':
        return this.fail(new AgentError(frame.data));
      case 'cancelled':
        return this.fail(this.cancelling ? this.cancelled() : new InterruptedError());
    }
  }

  /** Takes the frames over that were stored; `undefined` if they were too many. */
  restore(frames: readonly string[] | undefined): void {
    if (!frames) this.buffer.skip();
    else for (const text of frames) this.receive(JSON.parse(text) as RelayFrame, text.length);
  }

  cancelled(): CancelledError {
    return new CancelledError(this.#signal?.aborted ? { cause: this.#signal.reason } : undefined);
  }

  fail(error: unknown): void {
    if (!this.#settle()) return;
    this.error = error;
    this.buffer.end(error);
    this.#reject(error);
  }

  #push({ type, data, event = '' }: Pick<Piece, 'type' | 'data' | 'event'>, size: number): void {
    const text = type === 'content' || type === 'response' ? textOf(data) : '';
    const piece: Piece = { type, ...(type === 'event' && { event }), data, text };
    if (!this.buffer.push(piece, size)) {
      this.cancel();
      this.fail(new LimitError('UNREAD'));
    }
  }

  /** Ends it successfully. */
  finish(value: unknown): void {
    if (!this.#settle()) return;
    this.buffer.end();
    this.#resolve(value);
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
