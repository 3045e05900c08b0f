import { Client, type Dispatcher, errors } from 'undici';
import { Connector } from './connector.js';
import { FairQueue } from './fair-queue.js';
import { type ConnectionUsage, PooledRequest, type PooledRequestOwner, type RequestHandler } from './pooled-request.js';

/** Requests at a time before others wait: more connections cost more, and a quick agent answers no faster over them. */
const BASE_CONCURRENCY = 64;

/** Milliseconds between two checks whether more connections would help the requests that wait. */
const PROBE_INTERVAL_MS = 50;

/**
 * The connections to one origin. A stream has one for itself. Other requests share `BASE_CONCURRENCY` of them, and wait
 * if all are in use. If agents are slow there are more: after two intervals, and then after each, twice as many.
 *
 * Sessions take turns in the wait queue. From half of the connections on, only a session that has none gets one, because a
 * request that hangs cannot be pre-empted: else a few sessions could keep all others from an origin.
 */
export class ConnectionPool implements PooledRequestOwner {
  readonly #origin: string;
  readonly #maxConnections: number;
  readonly #options: Client.Options;
  readonly #connector = new Connector();
  /** Each has one connection at most. */
  readonly #clients: Client[] = [];
  /** Those of them that are free. The one that was used last is the last, and is taken first. */
  readonly #free: Client[] = [];
  /** Those whose answer ended in this turn of the event loop. */
  readonly #justUsed: Client[] = [];
  /** The connections of each session. Entries stay, because to add and remove one for each request takes longer. */
  readonly #usages = new WeakMap<object, ConnectionUsage>();
  readonly #waiting = new FairQueue<PooledRequest>();
  #streams = 0;
  /** Requests whose answer is not known to be a stream, and how many of them there may be at a time. */
  #others = 0;
  #limit = BASE_CONCURRENCY;
  /** Answers since the last check. */
  #answers = 0;
  #wasSlow = false;
  #timer: NodeJS.Timeout | undefined;
  #onIdle: (() => void) | undefined;

  constructor(origin: string, maxConnections: number, options: Client.Options) {
    this.#origin = origin;
    this.#maxConnections = maxConnections;
    this.#options = { ...options, connect: this.#connector.connect };
  }

  /** `owner` is the session on whose behalf the request is sent; undefined for the application itself. */
  dispatch(options: Dispatcher.DispatchOptions, handler: RequestHandler, owner?: object): void {
    const request = new PooledRequest(this, options, handler, owner, this.#usageOf(owner));
    if (this.#waiting.size === 0 && this.#hasRoom() && (this.#isBelowHalf || this.#hasNone(owner))) {
      return this.#begin(request);
    }
    this.#waiting.push(request);
    // Those before it may have been cancelled.
    this.#release();
    if (this.#waiting.size > 0) this.#startProbing();
  }

  /** @internal */
  slotReleased(client: Client, { isStream, usage }: PooledRequest): void {
    this.#answers += 1;
    if (isStream) this.#streams -= 1;
    else this.#others -= 1;
    if (usage !== undefined) usage.connections -= 1;
    if (this.#justUsed.push(client) === 1) setImmediate(() => this.#wake());
    this.#noteIdle();
  }

  /** @internal */
  becameStream(): void {
    this.#others -= 1;
    this.#streams += 1;
    // Later, because undici is in the middle of reading.
    if (this.#waiting.size > 0) setImmediate(() => this.#release());
  }

  /** Closes all connections once every request is answered. Nothing more may be dispatched. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      if (this.#isIdle) resolve();
    });
    clearInterval(this.#timer);
    await Promise.all(this.#clients.map((client) => (client.destroyed ? undefined : client.close())));
  }

  /** Closes all connections. Requests that run or wait fail. */
  async destroy(): Promise<void> {
    clearInterval(this.#timer);
    const destroyed = this.#clients.map((client) => client.destroy());
    // After the clients, which would connect again.
    this.#connector.destroy();
    for (const request of this.#waiting.drain()) request.fail(new errors.ClientDestroyedError());
    await Promise.all(destroyed);
  }

  get #isIdle(): boolean {
    return this.#others + this.#streams + this.#waiting.size === 0;
  }

  get #isBelowHalf(): boolean {
    return (this.#others + this.#streams) * 2 < this.#maxConnections;
  }

  /** The application itself counts as having none: it decides what it does to itself. */
  #hasNone(owner: object | undefined): boolean {
    return owner === undefined || (this.#usages.get(owner)?.connections ?? 0) === 0;
  }

  #hasRoom(): boolean {
    const most = Math.min(this.#limit + this.#streams, this.#maxConnections);
    return this.#others < this.#limit && (this.#free.length > 0 || this.#clients.length < most);
  }

  #begin(request: PooledRequest): void {
    this.#others += 1;
    if (request.usage !== undefined) request.usage.connections += 1;
    request.begin(this.#free.pop() ?? this.#open());
  }

  #usageOf(owner: object | undefined): ConnectionUsage | undefined {
    if (owner === undefined) return undefined;
    const known = this.#usages.get(owner);
    if (known !== undefined) return known;
    const usage: ConnectionUsage = { connections: 0 };
    this.#usages.set(owner, usage);
    return usage;
  }

  #open(): Client {
    const client = new Client(this.#origin, this.#options);
    this.#clients.push(client);
    return client;
  }

  /**
   * Makes clients free: not in the turn of their last answer. If the agent closed the connection behind that answer, or
   * sent more, undici finds out first.
   */
  #wake(): void {
    this.#free.push(...this.#justUsed);
    this.#justUsed.length = 0;
    this.#release();
  }

  #release(): void {
    while (this.#waiting.size > 0 && this.#hasRoom()) {
      const request = this.#next();
      if (request === undefined) break;
      this.#begin(request);
    }
    // The last of those that waited may have been cancelled.
    this.#noteIdle();
  }

  #noteIdle(): void {
    if (this.#onIdle !== undefined && this.#isIdle) this.#onIdle();
  }

  /** Sessions without a connection come first. */
  #next(): PooledRequest | undefined {
    const first = this.#waiting.take((owner) => this.#hasNone(owner));
    if (first !== undefined || !this.#isBelowHalf) return first;
    return this.#waiting.take(() => true);
  }

  #startProbing(): void {
    if (this.#timer !== undefined) return;
    this.#answers = 0;
    this.#wasSlow = false;
    this.#timer = setInterval(() => this.#probe(), PROBE_INTERVAL_MS);
  }

  /** Two answers a connection in that time would come no faster over more connections: this process is the bottleneck. */
  #probe(): void {
    const isQuick = this.#answers >= 2 * this.#others;
    this.#answers = 0;
    this.#waiting.prune();
    const { size } = this.#waiting;
    // Twice in a row, and step by step, because requests that have just begun take their time, too.
    if (isQuick) this.#limit = BASE_CONCURRENCY;
    else if (this.#wasSlow && size > 0) this.#limit = Math.min(this.#limit * 2, this.#others + size);
    this.#limit = Math.max(this.#limit, BASE_CONCURRENCY);
    this.#wasSlow = !isQuick;
    this.#release();
    if (this.#limit > BASE_CONCURRENCY || this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
