import type { Client, Dispatcher } from 'undici';
import type { Waiting } from './fair-queue.js';

/** undici's control of an answer: pause, resume, abort. */
export type Controller = Pick<Dispatcher.DispatchController, 'abort' | 'pause' | 'resume'>;

/** The headers of an answer, by their names in lower case. */
export type AnswerHeaders = Record<string, string | string[] | undefined>;

/** Receives the answer to a request: undici's handler interface, with all methods required. */
export interface RequestHandler {
  /** The answer is not needed any more. A request that still waits for a connection is not sent. */
  readonly isSettled: boolean;
  /** Runs whatever sends the request, if it is given. */
  readonly runInSpan?: ((send: () => void) => void) | undefined;
  /** There is a connection, and the first byte is written next. If this throws, the connection is returned unused. */
  onRequestStart(controller: Controller): void;
  onResponseStart(controller: Controller, status: number, headers: AnswerHeaders): void;
  onResponseData(controller: Controller, chunk: Buffer): void;
  onResponseEnd(controller: Controller): void;
  /** Without a controller if there was no connection yet. */
  onResponseError(controller: Controller | null | undefined, error: Error): void;
}

/** What a session uses of a pool. */
export interface ConnectionUsage {
  connections: number;
}

/** What a request needs of its pool. */
export interface PooledRequestOwner {
  /** The answer is complete or has failed: its connection can be used again, or has gone. */
  slotReleased(client: Client, request: PooledRequest): void;
  /** The answer is a stream: it has its connection for itself from now on. */
  becameStream(): void;
}

/** One request and its answer on one of the pool's connections. Everything that is known of undici's handlers is here. */
export class PooledRequest implements Dispatcher.DispatchHandler, Waiting<PooledRequest> {
  /** The next one in the wait queue. */
  next: PooledRequest | undefined;
  readonly owner: object | undefined;
  /** What its owner uses; undefined for the application itself. */
  readonly usage: ConnectionUsage | undefined;
  isStream = false;
  readonly #pool: PooledRequestOwner;
  /** Until it is sent: it has the request's body. */
  #options: Dispatcher.DispatchOptions | undefined;
  readonly #handler: RequestHandler;
  /** From its beginning to its end. */
  #client: Client | undefined;

  constructor(
    pool: PooledRequestOwner,
    options: Dispatcher.DispatchOptions,
    handler: RequestHandler,
    owner: object | undefined,
    usage: ConnectionUsage | undefined,
  ) {
    this.#pool = pool;
    this.#options = options;
    this.#handler = handler;
    this.owner = owner;
    this.usage = usage;
  }

  get isSettled(): boolean {
    return this.#handler.isSettled;
  }

  begin(client: Client): void {
    const options = this.#options as Dispatcher.DispatchOptions;
    this.#options = undefined;
    this.#client = client;
    const { runInSpan } = this.#handler;
    if (runInSpan === undefined) client.dispatch(options, this);
    else runInSpan(() => client.dispatch(options, this));
  }

  /** Fails it before it was sent. */
  fail(error: Error): void {
    this.#handler.onResponseError(undefined, error);
  }

  onRequestStart(controller: Controller): void {
    this.#handler.onRequestStart(controller);
  }

  onResponseStart(controller: Controller, status: number, headers: AnswerHeaders): void {
    if (!this.isStream && isEventStream(headers['content-type'])) {
      this.isStream = true;
      this.#pool.becameStream();
    }
    this.#handler.onResponseStart(controller, status, headers);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#handler.onResponseData(controller, chunk);
  }

  onResponseEnd(controller: Controller): void {
    this.#leave();
    this.#handler.onResponseEnd(controller);
  }

  onResponseError(controller: Controller | null | undefined, error: Error): void {
    this.#leave();
    this.#handler.onResponseError(controller, error);
  }

  #leave(): void {
    const client = this.#client;
    if (client === undefined) return;
    this.#client = undefined;
    this.#pool.slotReleased(client, this);
  }
}

/** Whether a content type is that of a stream of events, whatever its parameters are. */
export function isEventStream(contentType: string | string[] | undefined): boolean {
  return /^text\/event-stream(?:[\s;]|$)/i.test(String(contentType ?? ''));
}
