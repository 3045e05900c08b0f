import type { Client, Dispatcher } from 'undici';
import { rejectPromise } from '../values.js';
import type { Breaker, EndpointState } from './breaker.js';
import { ConnectionPool } from './connection-pool.js';
import type { RequestHandler } from './pooled-request.js';

/** The option: one URL for all agents, or a function from agent id to URL. */
export type EndpointOption = string | URL | ((agentId: string) => string | URL | null | undefined);

/** An endpoint, resolved: what a request needs to be sent there. */
export interface Endpoint {
  readonly origin: string;
  /** Path and query. */
  readonly path: string;
  /** Origin and path, for messages and logs. */
  readonly address: string;
  /** Of the configured endpoint, wherever redirects lead. */
  readonly breaker: Breaker;
}

/** URLs, and endpoints that do not fail, that are remembered: an endpoint function may produce any number of them. */
const MAX_URLS = 1000;

/** Origins whose connections are kept. */
const MAX_ORIGINS = 100;

/** Resolves endpoints, keeps a connection pool for each origin and a breaker for each endpoint. */
export class EndpointRegistry {
  /** No request is sent any more. */
  isClosed = false;
  readonly #option: EndpointOption;
  readonly #dispatcher: Dispatcher | undefined;
  readonly #connections: number;
  readonly #clientOptions: Client.Options;
  readonly #makeBreaker: () => Breaker;
  readonly #maxOrigins: number;
  /** The one that was used last is the last. */
  readonly #pools = new Map<string, ConnectionPool>();
  #lastOrigin = '';
  /** Pools that accept no more requests, and close when theirs are answered. */
  readonly #retired = new Set<ConnectionPool>();
  readonly #breakers = new Map<string, Breaker>();
  readonly #byUrl = new Map<string, Endpoint>();
  readonly #fixed: Endpoint | undefined;

  constructor(
    option: EndpointOption,
    dispatcher: Dispatcher | undefined,
    connections: number,
    clientOptions: Client.Options,
    makeBreaker: () => Breaker,
    maxOrigins = MAX_ORIGINS,
  ) {
    this.#option = option;
    this.#dispatcher = dispatcher;
    this.#connections = connections;
    this.#clientOptions = clientOptions;
    this.#makeBreaker = makeBreaker;
    this.#maxOrigins = maxOrigins;
    this.#fixed = typeof option === 'function' ? undefined : this.resolve(option);
  }

  /**
   * The endpoint of an agent; undefined if the endpoint function knows none.
   * @throws whatever that function throws
   */
  of(agentId: string): Endpoint | undefined {
    if (this.#fixed !== undefined) return this.#fixed;
    const ask = this.#option as (agentId: string) => string | URL | null | undefined;
    const url = rejectPromise(ask(agentId), 'endpoint');
    return url === null || url === undefined || url === '' ? undefined : this.resolve(url);
  }

  /** @throws TypeError if it is not an http(s) URL, or has credentials in it */
  resolve(url: string | URL): Endpoint {
    const key = String(url);
    const known = this.#byUrl.get(key);
    if (known !== undefined) return known;
    const parsed = URL.canParse(key) ? new URL(key) : undefined;
    if (parsed === undefined || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
      throw new TypeError(`endpoint: expected an http(s) URL, got ${JSON.stringify(withoutSecrets(key))}`);
    }
    if (parsed.username !== '' || parsed.password !== '') {
      throw new TypeError('endpoint: must not have credentials in it; use token or headers');
    }
    if (this.#byUrl.size >= MAX_URLS) this.#forget();
    const address = parsed.origin + parsed.pathname;
    const breaker = this.#breakers.get(address) ?? this.#makeBreaker();
    this.#breakers.set(address, breaker);
    const endpoint: Endpoint = { origin: parsed.origin, path: parsed.pathname + parsed.search, address, breaker };
    this.#byUrl.set(key, endpoint);
    return endpoint;
  }

  /** Forgets all URLs, and the breakers of endpoints that do not fail; of too many that do, the oldest. */
  #forget(): void {
    this.#byUrl.clear();
    for (const [address, { failures }] of this.#breakers) if (failures === 0) this.#breakers.delete(address);
    for (const address of [...this.#breakers.keys()].slice(0, -MAX_URLS / 2)) this.#breakers.delete(address);
  }

  /** Requests go over connections that are made here, and not over those of the application's dispatcher. */
  get hasOwnConnections(): boolean {
    return this.#dispatcher === undefined;
  }

  /** Posts a body. Failures go to the handler, or are thrown. */
  post({ origin, path }: Endpoint, headers: string[], body: string, handler: RequestHandler, owner?: object): void {
    // undici's time-outs have a resolution of a second. A call has its own, and knows what it waits for.
    const options = { origin, path, method: 'POST', headers, body, headersTimeout: 0, bodyTimeout: 0 } as const;
    if (this.#dispatcher === undefined) this.#pool(origin).dispatch(options, handler, owner);
    else if (handler.runInSpan === undefined) this.#dispatcher.dispatch(options, handler);
    else handler.runInSpan(() => this.#dispatcher?.dispatch(options, handler));
  }

  #pool(origin: string): ConnectionPool {
    const known = this.#pools.get(origin);
    if (known !== undefined && origin === this.#lastOrigin) return known;
    const pool = known ?? new ConnectionPool(origin, this.#connections, this.#clientOptions);
    this.#lastOrigin = origin;
    this.#pools.delete(origin);
    this.#pools.set(origin, pool);
    if (this.#pools.size > this.#maxOrigins) this.#retireOldest();
    return pool;
  }

  /** Closes the pool that was used longest ago, once its requests are answered. */
  #retireOldest(): void {
    const [[origin, pool] = []] = this.#pools;
    if (origin === undefined || pool === undefined) return;
    this.#pools.delete(origin);
    this.#retired.add(pool);
    void pool.close().finally(() => this.#retired.delete(pool));
  }

  /** The state of each endpoint that was used. */
  states(): EndpointState[] {
    return Array.from(this.#breakers, ([address, { state, failures }]) => ({ address, state, failures }));
  }

  /** Destroys all pools. The application's dispatcher is closed by its owner. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values(), ...this.#retired].map((pool) => pool.destroy()));
  }
}

/** What an error may show of a text that is no URL: a key may be in its query, and a password before its host. */
function withoutSecrets(text: string): string {
  const [shown = ''] = text.split(/[?#]/, 1);
  const at = shown.lastIndexOf('@');
  if (at === -1) return shown;
  const slashes = shown.indexOf('//');
  return `${slashes === -1 ? '' : shown.slice(0, slashes + 2)}…${shown.slice(at)}`;
}

/**
 * The target of a redirect, or why it is not followed: it is no URL, or another origin. A token is never sent to another
 * origin. `http:` on the same host counts as our origin if we use `https:`, because a server behind a proxy that terminates
 * TLS does not know its own scheme.
 */
export function followRedirect(from: Endpoint, location: string): Endpoint | string {
  const base = new URL(from.path, from.origin);
  const to = location !== '' && URL.canParse(location, base.href) ? new URL(location, base) : undefined;
  if (to === undefined) return 'a redirect to nowhere';
  const isDowngrade = base.protocol === 'https:' && to.protocol === 'http:' && to.hostname === base.hostname;
  const isOurs = to.origin === from.origin || (isDowngrade && (to.port === '' || to.port === base.port));
  if (!isOurs) return 'a redirect to another origin, which is not followed';
  return { ...from, path: to.pathname + to.search, address: from.origin + to.pathname };
}
