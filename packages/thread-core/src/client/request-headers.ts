import { ARC_CONTENT_TYPE, type ArcMethod } from '@arc/thread-protocol';
import type { Callback } from '../hooks.js';
import { isHttpName, rejectPromise } from '../values.js';
import { VERSION } from '../version.js';
import type { CallOwner, CallRequest } from './call-request.js';
import { writeCookies } from './cookies.js';

/** What a `headers` function gets about a request. */
export interface HeadersContext<Session = unknown> {
  /** The session of the relay, or `session` of the ThreadManager; undefined for calls of the application itself. */
  readonly session: Session;
  readonly agentId: string;
  /** Undefined if the agent chooses it. */
  readonly chatId: string | undefined;
  readonly method: ArcMethod;
  readonly traceId: string | undefined;
}

/** Headers of every request, or a function that gives those of one request. */
export type HeadersOption<Session = unknown> =
  | Record<string, string>
  | Callback<[context: HeadersContext<Session>], Record<string, string>>;

const OWN_HEADERS: Record<string, string> = {
  'content-type': ARC_CONTENT_TYPE,
  accept: `${ARC_CONTENT_TYPE}, text/event-stream`,
  // Compressed answers are read, but they cost both sides more than they save on short messages.
  'accept-encoding': 'identity',
  // Firewalls refuse requests without it.
  'user-agent': `arc-threads/${VERSION} node/${process.versions.node.split('.')[0]}`,
};

/** Makes the headers of requests. Those of the application replace ours, except for `authorization` beside a token. */
export class RequestHeaders {
  readonly #option: HeadersOption;
  /** Those of the last token: mostly there is only one. */
  #last: { token: string | undefined; headers: string[] } | undefined;

  /**
   * @throws TypeError if a header cannot be sent
   */
  constructor(option: HeadersOption) {
    if (typeof option !== 'function') checkHeaders(option);
    this.#option = option;
  }

  /** Whether the application gives `authorization` itself, for all requests. */
  get hasAuthorization(): boolean {
    return typeof this.#option !== 'function' && namesOf(this.#option).has('authorization');
  }

  /**
   * Names and values in turn, as undici takes them.
   * @throws whatever the `headers` function throws, or a TypeError if it gives what cannot be sent
   */
  of(request: CallRequest, owner: CallOwner | undefined, token: string | undefined, origin: string): string[] {
    const headers = typeof this.#option === 'function' ? this.#ask(request, owner, token) : this.#shared(token);
    const cookies = writeCookies(request.chat?.cookies, origin);
    return cookies === undefined ? headers : withCookies(headers, cookies);
  }

  #shared(token: string | undefined): string[] {
    if (this.#last === undefined || this.#last.token !== token) {
      this.#last = { token, headers: merge(this.#option as Record<string, string>, token) };
    }
    return this.#last.headers;
  }

  #ask(request: CallRequest, owner: CallOwner | undefined, token: string | undefined): string[] {
    const { targetAgent: agentId, method, traceId, params } = request;
    const chatId = typeof params.chatId === 'string' ? params.chatId : undefined;
    const ask = this.#option as (context: HeadersContext) => Record<string, string>;
    const given = rejectPromise(ask({ session: owner?.session, agentId, chatId, method, traceId }), 'headers');
    checkHeaders(given);
    return merge(given, token);
  }
}

function merge(given: Record<string, string>, token: string | undefined): string[] {
  const names = namesOf(given);
  if (token !== undefined && names.has('authorization')) {
    throw new TypeError('headers: has authorization beside a token');
  }
  const own = Object.entries(OWN_HEADERS).filter(([name]) => !names.has(name));
  const bearer = token === undefined ? [] : ['authorization', `Bearer ${token}`];
  return [...own.flat(), ...bearer, ...Object.entries(given).flat()];
}

/** Adds cookies to those that the application gives. */
function withCookies(headers: string[], cookies: string): string[] {
  const at = headers.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'cookie');
  if (at === -1) return [...headers, 'cookie', cookies];
  return [...headers.slice(0, at + 1), `${headers[at + 1]}; ${cookies}`, ...headers.slice(at + 2)];
}

function namesOf(headers: Record<string, string>): Set<string> {
  return new Set(Object.keys(headers).map((name) => name.toLowerCase()));
}

function checkHeaders(headers: unknown): asserts headers is Record<string, string> {
  if (typeof headers !== 'object' || headers === null) {
    throw new TypeError('headers: must be an object of strings, or a function that returns one');
  }
  for (const [name, value] of Object.entries(headers)) {
    if (isHttpName(name) && typeof value === 'string' && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      continue;
    }
    throw new TypeError(`headers: has something that cannot be sent, at ${JSON.stringify(name)}`);
  }
}
