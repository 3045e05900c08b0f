import type { Socket } from 'node:net';
import { buildConnector, type Dispatcher, Pool } from 'undici';

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
  /** No request is sent any more. */
  closed = false;
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
      pool = new Pool(origin, { ...this.#poolOptions, connect: makeConnector() });
      this.#pools.set(origin, pool);
    }
    return pool;
  }

  /** Destroys the pools that were made here; a dispatcher that was handed in is its owner's. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
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
