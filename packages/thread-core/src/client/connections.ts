import { type Dispatcher, Pool } from 'undici';

/** So many requests are under way before others wait for them: more connections cost more, and answer no faster. */
const FEW = 64;

/**
 * What takes so many milliseconds, while little else is answered, waits for its agent. It has its connection for itself
 * then, and another one may be opened.
 */
const SLOW = 50;

interface Waiting {
  options: Dispatcher.DispatchOptions;
  exchange: Exchange;
}

/**
 * The connections to one origin. A stream has one for itself, and so has a slow answer; for what is quick there are few,
 * which others wait for: while agents are slow, for about `SLOW`.
 */
export class Connections {
  readonly #few: Pool;
  /** As many as are slow, for what would wait for those. */
  readonly #more: Pool | undefined;
  #inFew = 0;
  #inMore = 0;
  /** Counts the times at which it was looked for what is slow. */
  #look = 0;
  /** Requests under way: since the last look, since the one before it, and longer. */
  #new = 0;
  #recent = 0;
  #slow = 0;
  /** The look since which nothing is slow. */
  #recentSince = 0;
  /** Answers since the last look. */
  #answers = 0;
  readonly #waiting: Waiting[] = [];
  /** How many at the head of those have gone. */
  #gone = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `options.connections` is the most that are opened; null: any number. */
  constructor(origin: string, options: Pool.Options) {
    const { connections = null } = options;
    const more = connections === null ? null : connections - FEW;
    this.#few = new Pool(origin, { ...options, connections: Math.min(connections ?? FEW, FEW) });
    this.#more = more !== null && more <= 0 ? undefined : new Pool(origin, { ...options, connections: more });
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const exchange = new Exchange(this, handler);
    if (this.#waiting.length === 0 && this.#hasRoom()) return this.#start(options, exchange);
    this.#waiting.push({ options, exchange });
    if (this.#timer !== undefined) return;
    // What is under way is looked at from now on.
    this.#recent += this.#new;
    this.#new = 0;
    this.#answers = 0;
    this.#look += 1;
    this.#timer = setInterval(() => this.#lookForSlow(), SLOW);
  }

  /** An exchange is over. @internal */
  left(exchange: Exchange): void {
    this.#answers += 1;
    this.#uncount(exchange.began);
    if (exchange.isInMore) this.#inMore -= 1;
    else this.#inFew -= 1;
    if (this.#waiting.length > 0) this.#release();
  }

  /** An exchange has its connection for itself from now on. @internal */
  isSlow(exchange: Exchange): void {
    this.#uncount(exchange.began);
    exchange.began = -1;
    this.#slow += 1;
    if (this.#waiting.length > 0) this.#release();
  }

  /** Closes all connections once what is under way, or waits, is answered. Nothing more may be dispatched. */
  async close(): Promise<void> {
    this.#startAll();
    await Promise.all([this.#few.close(), this.#more?.close()]);
  }

  /** Closes all connections. What is under way, or waits, fails. */
  async destroy(): Promise<void> {
    const destroyed = [this.#few.destroy(), this.#more?.destroy()];
    this.#startAll();
    await Promise.all(destroyed);
  }

  /** Leaves what waits to the pools. */
  #startAll(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting.splice(0).slice(this.#gone);
    this.#gone = 0;
    for (const { options, exchange } of waiting) this.#start(options, exchange);
  }

  #hasRoom(): boolean {
    return this.#inFew < FEW || (this.#more !== undefined && this.#inMore < this.#slow);
  }

  #start(options: Dispatcher.DispatchOptions, exchange: Exchange): void {
    exchange.began = this.#look;
    exchange.isInMore = this.#more !== undefined && this.#inFew >= FEW;
    this.#new += 1;
    if (exchange.isInMore) this.#inMore += 1;
    else this.#inFew += 1;
    (exchange.isInMore ? (this.#more as Pool) : this.#few).dispatch(options, exchange);
  }

  #uncount(began: number): void {
    if (began < this.#recentSince) this.#slow -= 1;
    else if (began === this.#look) this.#new -= 1;
    else this.#recent -= 1;
  }

  #lookForSlow(): void {
    const answers = this.#answers;
    this.#answers = 0;
    // It is this process that is busy, where so much was answered meanwhile: more connections would be more to do for it.
    if (answers >= FEW) return;
    this.#slow += this.#recent;
    this.#recent = this.#new;
    this.#new = 0;
    this.#recentSince = this.#look;
    this.#look += 1;
    this.#release();
  }

  #release(): void {
    while (this.#gone < this.#waiting.length && this.#hasRoom()) {
      const { options, exchange } = this.#waiting[this.#gone] as Waiting;
      this.#gone += 1;
      this.#start(options, exchange);
    }
    // Not one by one, which would move all others each time.
    if (this.#gone < this.#waiting.length && this.#gone < 1000) return;
    this.#waiting.splice(0, this.#gone);
    this.#gone = 0;
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * One request on a pool, and its answer. undici's own wrapper for this kind of handler makes two objects, and one more of
 * all headers; so it gets the names of undici 6, which it passes on to as they are.
 */
class Exchange implements Dispatcher.DispatchHandler, Dispatcher.DispatchController {
  /** When it began, as `Connections` counts. */
  began = -1;
  isInMore = false;
  aborted = false;
  paused = false;
  reason: Error | null = null;
  rawHeaders = null;
  rawTrailers = null;
  readonly #connections: Connections;
  readonly #handler: Dispatcher.DispatchHandler;
  #abort: ((reason: Error) => void) | undefined;
  #resume: (() => void) | undefined;
  #isOver = false;

  constructor(connections: Connections, handler: Dispatcher.DispatchHandler) {
    this.#connections = connections;
    this.#handler = handler;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.#resume?.();
  }

  abort(reason: Error): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.#abort?.(reason);
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort;
    this.#handler.onRequestStart?.(this, {});
  }

  onHeaders(status: number, rawHeaders: Buffer[], resume: () => void): boolean {
    this.#resume = resume;
    const headers = readHeaders(rawHeaders);
    if (headers['content-type']?.startsWith('text/event-stream') === true) this.#connections.isSlow(this);
    this.#handler.onResponseStart?.(this, status, headers);
    return !this.paused;
  }

  onData(chunk: Buffer): boolean {
    this.#handler.onResponseData?.(this, chunk);
    return !this.paused;
  }

  onComplete(): void {
    this.#end();
    this.#handler.onResponseEnd?.(this, {});
  }

  onError(error: Error): void {
    this.#end();
    // Where it never had a connection, there is nothing that could be controlled.
    const controller = this.#abort === undefined ? undefined : this;
    this.#handler.onResponseError?.(controller as Dispatcher.DispatchController, error);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#connections.left(this);
  }
}

/** The headers of an answer that a call reads. */
const HEADERS = new Set(['content-type', 'content-length', 'location', 'retry-after']);
const LENGTHS = new Set(Array.from(HEADERS, (name) => name.length));

function readHeaders(raw: Buffer[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const key = raw[i] as Buffer;
    if (!LENGTHS.has(key.length)) continue;
    const name = key.toString('latin1').toLowerCase();
    if (HEADERS.has(name)) headers[name] ??= (raw[i + 1] as Buffer).toString('latin1');
  }
  return headers;
}
