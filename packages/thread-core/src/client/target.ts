import { type Dispatcher, Pool } from 'undici';
import { AgentNotFoundError } from '../protocol/errors.js';

/** Where an agent is: one URL for all of them, or a function that knows each agent's own. */
export type Endpoint = string | URL | ((agentId: string) => string | URL | null | undefined);

/** An endpoint, resolved: what a request needs to be sent there. */
export interface Target {
  readonly dispatcher: Dispatcher;
  readonly origin: string;
  /** Path and query. */
  readonly path: string;
  /** Origin and path, for messages and logs. */
  readonly address: string;
}

/** Resolves endpoints, and keeps a pool of connections for each origin. */
export class Targets {
  readonly #endpoint: Endpoint;
  readonly #dispatcher: Dispatcher | undefined;
  readonly #poolOptions: Pool.Options;
  readonly #pools = new Map<string, Pool>();
  readonly #byUrl = new Map<string, Target>();
  readonly #fixed: Target | undefined;

  constructor(endpoint: Endpoint, dispatcher: Dispatcher | undefined, poolOptions: Pool.Options) {
    this.#endpoint = endpoint;
    this.#dispatcher = dispatcher;
    this.#poolOptions = poolOptions;
    this.#fixed = typeof endpoint === 'function' ? undefined : this.resolve(endpoint);
  }

  /**
   * The target of an agent.
   * @throws AgentNotFoundError where the endpoint function knows none, and whatever that function throws
   */
  of(agentId: string): Target {
    if (this.#fixed !== undefined) return this.#fixed;
    const url = (this.#endpoint as (agentId: string) => string | URL | null | undefined)(agentId);
    if (url === null || url === undefined || url === '') {
      throw new AgentNotFoundError(`No endpoint for agent "${agentId}"`, { agentId });
    }
    return this.resolve(url);
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
    const target: Target = {
      dispatcher: this.#dispatcher ?? this.#pool(parsed.origin),
      origin: parsed.origin,
      path: parsed.pathname + parsed.search,
      address: parsed.origin + parsed.pathname,
    };
    // A function may make URLs up: what it gives is remembered, but not without end.
    if (this.#byUrl.size >= 1000) this.#byUrl.clear();
    this.#byUrl.set(key, target);
    return target;
  }

  #pool(origin: string): Pool {
    let pool = this.#pools.get(origin);
    if (pool === undefined) {
      pool = new Pool(origin, this.#poolOptions);
      this.#pools.set(origin, pool);
    }
    return pool;
  }

  /** Destroys the pools that were made here; a dispatcher that was handed in is its owner's. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }
}
