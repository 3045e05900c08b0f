import type { Socket } from 'node:net';
import { buildConnector, type Client, type Dispatcher } from 'undici';
import type { Breaker, EndpointState } from './breaker.js';
import { ConnectionPool } from './connection-pool.js';
import type { RequestHandler } from './pooled-request.js';
import type { KnownEvents } from './run.js';

/** Where an agent is: one URL for all of them, or a function that knows each agent's own. */
export type Endpoint = string | URL | ((agentId: string) => string | URL | null | undefined);

/** An endpoint, resolved: what a request needs to be sent there. */
export interface Target {
  readonly origin: string;
  /** Path and query. */
  readonly path: string;
  /** Origin and path, for messages and logs. */
  readonly address: string;
  /** Of the endpoint, wherever redirects lead. */
  readonly breaker: Breaker;
  /** What the events of its streams look like. */
  readonly events: KnownEvents;
}

/** So many URLs, and endpoints that do not fail, are remembered: a function may make them up. */
const MOST_URLS = 1000;

/** So many origins have their connections kept. */
const MOST_ORIGINS = 100;

/** Resolves endpoints, keeps a pool of connections for each origin, and knows how each endpoint does. */
export class Targets {
  /** No request is sent any more. */
  closed = false;
  readonly #endpoint: Endpoint;
  readonly #dispatcher: Dispatcher | undefined;
  readonly #connections: number;
  readonly #clientOptions: Client.Options;
  readonly #makeBreaker: () => Breaker;
  readonly #mostOrigins: number;
  /** Those that were used last come last. */
  readonly #pools = new Map<string, ConnectionPool>();
  #lastOrigin = '';
  /** Pools that take no more requests, and end with those that they have. */
  readonly #retired = new Set<ConnectionPool>();
  readonly #breakers = new Map<string, Breaker>();
  readonly #byUrl = new Map<string, Target>();
  readonly #fixed: Target | undefined;

  constructor(
    endpoint: Endpoint,
    dispatcher: Dispatcher | undefined,
    connections: number,
    clientOptions: Client.Options,
    makeBreaker: () => Breaker,
    mostOrigins = MOST_ORIGINS,
  ) {
    this.#endpoint = endpoint;
    this.#dispatcher = dispatcher;
    this.#connections = connections;
    this.#clientOptions = clientOptions;
    this.#makeBreaker = makeBreaker;
    this.#mostOrigins = mostOrigins;
    this.#fixed = typeof endpoint === 'function' ? undefined : this.resolve(endpoint);
  }

  /**
   * The target of an agent; undefined where the endpoint function knows none.
   * @throws whatever that function throws
   */
  of(agentId: string): Target | undefined {
    if (this.#fixed !== undefined) return this.#fixed;
    const url = (this.#endpoint as (agentId: string) => string | URL | null | undefined)(agentId);
    return url === null || url === undefined || url === '' ? undefined : this.resolve(url);
  }

  /** @throws TypeError where it is not an http(s) URL, or has credentials in it */
  resolve(url: string | URL): Target {
    const key = String(url);
    const known = this.#byUrl.get(key);
    if (known !== undefined) return known;
    const parsed = URL.canParse(key) ? new URL(key) : undefined;
    if (parsed === undefined || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
      throw new TypeError(`endpoint: expected an http(s) URL, got ${JSON.stringify(key)}`);
    }
    if (parsed.username !== '' || parsed.password !== '') {
      throw new TypeError('endpoint: must not have credentials in it; use token or headers');
    }
    if (this.#byUrl.size >= MOST_URLS) this.#forget();
    const address = parsed.origin + parsed.pathname;
    const breaker = this.#breakers.get(address) ?? this.#makeBreaker();
    this.#breakers.set(address, breaker);
    const path = parsed.pathname + parsed.search;
    const target: Target = {
      origin: parsed.origin,
      path,
      address,
      breaker,
      events: {},
    };
    this.#byUrl.set(key, target);
    return target;
  }

  /** Forgets all URLs, and of the endpoints those that do not fail; of too many that do, the oldest. */
  #forget(): void {
    this.#byUrl.clear();
    for (const [address, { failures }] of this.#breakers) if (failures === 0) this.#breakers.delete(address);
    for (const address of [...this.#breakers.keys()].slice(0, -MOST_URLS / 2)) this.#breakers.delete(address);
  }

  /** Requests go over connections that are made here. */
  get areOwn(): boolean {
    return this.#dispatcher === undefined;
  }

  /** Posts a body; the handler hears of all that goes wrong, or it is thrown. */
  post({ origin, path }: Target, headers: string[], body: string, handler: RequestHandler, owner?: object): void {
    // The time-outs count gaps with a granularity of a second; a call's own timer is exact, and tells the two apart.
    const options = { origin, path, method: 'POST', headers, body, headersTimeout: 0, bodyTimeout: 0 } as const;
    if (this.#dispatcher === undefined) this.#pool(origin).dispatch(options, handler, owner);
    else this.#dispatcher.dispatch(options, handler);
  }

  #pool(origin: string): ConnectionPool {
    const known = this.#pools.get(origin);
    if (known !== undefined && origin === this.#lastOrigin) return known;
    const pool =
      known ?? new ConnectionPool(origin, this.#connections, { ...this.#clientOptions, connect: makeConnector() });
    this.#lastOrigin = origin;
    this.#pools.delete(origin);
    this.#pools.set(origin, pool);
    if (this.#pools.size > this.#mostOrigins) this.#retireOldest();
    return pool;
  }

  /** Lets the pool go that was used longest ago. Requests that it still has are finished. */
  #retireOldest(): void {
    const [[origin, pool] = []] = this.#pools;
    if (origin === undefined || pool === undefined) return;
    this.#pools.delete(origin);
    this.#retired.add(pool);
    void pool.close().finally(() => this.#retired.delete(pool));
  }

  /** How each endpoint does that was asked. */
  endpoints(): EndpointState[] {
    return Array.from(this.#breakers, ([address, { state, failures }]) => ({ address, state, failures }));
  }

  /** Destroys the pools that were made here; a dispatcher that was handed in is its owner's. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values(), ...this.#retired].map((pool) => pool.destroy()));
  }
}

/**
 * Makes connections as undici does, but for one thing. Where a request is aborted, undici destroys its socket with an
 * error that its own client takes for a reason to connect again, with nothing to send; that connection then stays. With
 * any other error it does not (https://github.com/nodejs/undici/issues/5845).
 */
function makeConnector(): buildConnector.connector {
  const connect = buildConnector({});
  return (options, callback) => {
    connect(options, (...result) => {
      // Where it failed there is none, whatever its type says.
      const socket = result[1] as Socket | undefined;
      if (socket !== undefined) {
        const destroy = socket.destroy.bind(socket);
        socket.destroy = (error) => destroy(error?.message === 'aborted' ? new Error('aborted') : error);
      }
      callback(...result);
    });
  };
}
