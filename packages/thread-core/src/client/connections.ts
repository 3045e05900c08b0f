import { Client, type Dispatcher, errors } from 'undici';

/** So many requests are under way before others wait for them: more connections cost more, and answer no faster. */
const FEW = 64;

/** Hears an answer. */
export interface AnswerHandler extends Dispatcher.DispatchHandler {
  /** It wants to hear no more: where it waits for a connection it is not sent. */
  readonly isOver: boolean;
}

/** So many milliseconds others wait before it is looked whether more connections would help. */
const PATIENCE = 50;

/**
 * The connections to one origin. A stream has one for itself. For other answers there are few, for which requests wait;
 * where agents take their time there are more: after twice `PATIENCE`, and then after each, twice as many.
 */
export class Connections {
  readonly #origin: string;
  /** The most connections at a time. */
  readonly #most: number;
  readonly #options: Client.Options;
  /** Each has one connection at most. */
  readonly #clients: Client[] = [];
  /** Those of them that are free; the one that was used last comes last, and is taken first. */
  readonly #free: Client[] = [];
  /** Those whose answer ended in this turn. */
  readonly #resting: Client[] = [];
  #streams = 0;
  /** Answers that are not known to be streams, and how many there may be at a time. */
  #others = 0;
  #limit = FEW;
  /** A list of those that wait, in the order they came. An array would keep those that have gone. */
  #first: Exchange | undefined;
  #last: Exchange | undefined;
  #waiting = 0;
  /** Answers since it was looked last. */
  #answers = 0;
  #wasSlow = false;
  #timer: NodeJS.Timeout | undefined;
  #onIdle: (() => void) | undefined;

  constructor(origin: string, most: number, options: Client.Options) {
    this.#origin = origin;
    this.#most = most;
    this.#options = options;
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: AnswerHandler): void {
    const exchange = new Exchange(this, options, handler);
    if (this.#first === undefined && this.#hasRoom()) return this.#begin(exchange);
    this.#push(exchange);
    // Those before it may have given up.
    this.#release();
    if (this.#first !== undefined) this.#startLooking();
  }

  /** An exchange is over. @internal */
  left(client: Client, isStream: boolean): void {
    this.#answers += 1;
    if (isStream) this.#streams -= 1;
    else this.#others -= 1;
    if (this.#resting.push(client) === 1) setImmediate(() => this.#wake());
    if (this.#onIdle !== undefined && this.#isIdle) this.#onIdle();
  }

  /** An exchange has its connection for itself from now on. @internal */
  becameStream(): void {
    this.#others -= 1;
    this.#streams += 1;
    // Later, because undici is in the midst of reading.
    if (this.#first !== undefined) setImmediate(() => this.#release());
  }

  /** Closes all connections once what is under way, or waits, is answered. Nothing more may be dispatched. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      if (this.#isIdle) resolve();
    });
    clearInterval(this.#timer);
    await Promise.all(this.#clients.map((client) => (client.destroyed ? undefined : client.close())));
  }

  /** Closes all connections. What is under way, or waits, fails. */
  async destroy(): Promise<void> {
    clearInterval(this.#timer);
    const destroyed = this.#clients.map((client) => client.destroy());
    while (this.#first !== undefined) this.#shift(this.#first).onError(new errors.ClientDestroyedError());
    await Promise.all(destroyed);
  }

  get #isIdle(): boolean {
    return this.#others + this.#streams + this.#waiting === 0;
  }

  #hasRoom(): boolean {
    const most = Math.min(this.#limit + this.#streams, this.#most);
    return this.#others < this.#limit && (this.#free.length > 0 || this.#clients.length < most);
  }

  #begin(exchange: Exchange): void {
    this.#others += 1;
    exchange.begin(this.#free.pop() ?? this.#open());
  }

  #open(): Client {
    const client = new Client(this.#origin, this.#options);
    this.#clients.push(client);
    return client;
  }

  #push(exchange: Exchange): void {
    if (this.#last === undefined) this.#first = exchange;
    else this.#last.next = exchange;
    this.#last = exchange;
    this.#waiting += 1;
  }

  /** Takes out the first of those that wait. */
  #shift(first: Exchange): Exchange {
    this.#first = first.next;
    if (this.#first === undefined) this.#last = undefined;
    first.next = undefined;
    this.#waiting -= 1;
    return first;
  }

  /**
   * Lets clients be used again: not in the turn of their last answer. If the agent closed the connection behind that,
   * or sent more, undici comes to know of it first.
   */
  #wake(): void {
    this.#free.push(...this.#resting);
    this.#resting.length = 0;
    this.#release();
  }

  #release(): void {
    while (this.#first !== undefined && (this.#first.isOver || this.#hasRoom())) {
      const exchange = this.#shift(this.#first);
      if (!exchange.isOver) this.#begin(exchange);
    }
  }

  /** Lets go of those that wait for nothing any more, wherever they stand. */
  #forget(): void {
    const rest: Exchange[] = [];
    while (this.#first !== undefined) {
      const exchange = this.#shift(this.#first);
      if (!exchange.isOver) rest.push(exchange);
    }
    for (const exchange of rest) this.#push(exchange);
  }

  #startLooking(): void {
    if (this.#timer !== undefined) return;
    this.#answers = 0;
    this.#wasSlow = false;
    this.#timer = setInterval(() => this.#look(), PATIENCE);
  }

  /** Answers that come twice in that time come no faster over more connections: it is this process that is busy then. */
  #look(): void {
    const isQuick = this.#answers >= 2 * this.#others;
    this.#answers = 0;
    this.#forget();
    // Twice in a row, and step by step, because what has just begun takes its time, too.
    if (isQuick) this.#limit = FEW;
    else if (this.#wasSlow && this.#waiting > 0) this.#limit = Math.min(this.#limit * 2, this.#others + this.#waiting);
    this.#limit = Math.max(this.#limit, FEW);
    this.#wasSlow = !isQuick;
    this.#release();
    if (this.#limit > FEW || this.#waiting > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * One request, and its answer. undici's own wrapper for this kind of handler makes two objects, and one more of all
 * headers; so it gets the names of undici 6, which it passes on to as they are.
 */
class Exchange implements Dispatcher.DispatchHandler, Dispatcher.DispatchController {
  /** Who waits behind it. */
  next: Exchange | undefined;
  aborted = false;
  paused = false;
  reason: Error | null = null;
  rawHeaders = null;
  rawTrailers = null;
  readonly #connections: Connections;
  /** Until it is sent: it has the request's body. */
  #options: Dispatcher.DispatchOptions | undefined;
  readonly #handler: AnswerHandler;
  /** From its beginning to its end. */
  #client: Client | undefined;
  #isStream = false;
  #abort: ((reason: Error) => void) | undefined;
  #resume: (() => void) | undefined;

  constructor(connections: Connections, options: Dispatcher.DispatchOptions, handler: AnswerHandler) {
    this.#connections = connections;
    this.#options = options;
    this.#handler = handler;
  }

  begin(client: Client): void {
    const options = this.#options as Dispatcher.DispatchOptions;
    this.#options = undefined;
    this.#client = client;
    client.dispatch(options, this);
  }

  get isOver(): boolean {
    return this.#handler.isOver;
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
    if (!this.#isStream && isEventStream(headers['content-type'])) {
      this.#isStream = true;
      this.#connections.becameStream();
    }
    this.#handler.onResponseStart?.(this, status, headers);
    return !this.paused;
  }

  onData(chunk: Buffer): boolean {
    this.#handler.onResponseData?.(this, chunk);
    return !this.paused;
  }

  onComplete(): void {
    this.#leave();
    this.#handler.onResponseEnd?.(this, {});
  }

  onError(error: Error): void {
    this.#leave();
    // Where it never had a connection, there is nothing that could be controlled.
    const controller = this.#abort === undefined ? undefined : this;
    this.#handler.onResponseError?.(controller as Dispatcher.DispatchController, error);
  }

  #leave(): void {
    const client = this.#client;
    if (client === undefined) return;
    this.#client = undefined;
    this.#connections.left(client, this.#isStream);
  }
}

/** The headers of an answer that a call reads. */
interface Headers extends Record<string, string | undefined> {
  'content-type': string | undefined;
  'content-length': string | undefined;
  location: string | undefined;
  'retry-after': string | undefined;
}

function readHeaders(raw: Buffer[]): Headers {
  const headers: Headers = {
    'content-type': undefined,
    'content-length': undefined,
    location: undefined,
    'retry-after': undefined,
  };
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = nameOf(raw[i] as Buffer);
    // Of a header that comes twice the first counts.
    if (name !== undefined) headers[name] ??= (raw[i + 1] as Buffer).toString('latin1');
  }
  return headers;
}

/** By the lengths of the four names: most headers are others, and need not be made strings of. */
function nameOf(key: Buffer): keyof Headers | undefined {
  if (key.length === 12) return is(key, 'content-type') ? 'content-type' : undefined;
  if (key.length === 14) return is(key, 'content-length') ? 'content-length' : undefined;
  if (key.length === 8) return is(key, 'location') ? 'location' : undefined;
  if (key.length === 11) return is(key, 'retry-after') ? 'retry-after' : undefined;
  return undefined;
}

/** Whether these are the same letters and hyphens, in whatever case. */
function is(key: Buffer, name: string): boolean {
  for (let i = 0; i < name.length; i += 1) if (((key[i] as number) | 0x20) !== name.charCodeAt(i)) return false;
  return true;
}

/** By its content type, whatever its parameters are. */
export function isEventStream(contentType: string | undefined): boolean {
  return contentType !== undefined && /^text\/event-stream/i.test(contentType);
}
