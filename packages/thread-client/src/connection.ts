import { Backoff } from './backoff.js';
import type { CloseInfo, ThreadClientOptions, WebSocketConstructor, WebSocketLike } from './options.js';

/** For one attempt, from asking for the address until the session is established. */
const ATTEMPT_TIMEOUT_MS = 10_000;
const PING_TIMEOUT_MS = 3_000;
/** Turns are pending, and nothing was received for so long: ask whether the connection still works. */
const SILENCE_MS = 10_000;
/** A connection that lasted so long was a good one: the next loss starts with the shortest delay. */
const STABLE_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;
const MAX_ABANDONED = 4;

/** The relay refuses this client, or is done with it: another attempt would end alike, or is not wanted. */
const FINAL = new Set([1000, 1008, 4401, 4403, 4409]);
const IDLE = 4408;
const LOST = 1006;

export type Phase =
  | { name: 'connecting' }
  | { name: 'open' }
  | { name: 'waiting'; retryAt: number | undefined; event: CloseInfo }
  | { name: 'closed'; event: CloseInfo };

export interface ConnectionHost {
  /** The socket is open. The host establishes its session on it, and then calls `established()`. */
  onOpen(): void;
  onMessage(text: string): void;
  /** The connection left the phase `open` or `connecting`, or entered `connecting`. */
  onPhase(phase: Phase): void;
  /** Whether answers are outstanding, so that silence is suspicious. */
  isWaiting(): boolean;
}

export interface ConnectionOptions extends Pick<ThreadClientOptions, 'url' | 'protocols' | 'backoff' | 'shouldRetry'> {
  WebSocket: WebSocketConstructor;
}

/** A WebSocket that comes back. It knows nothing of sessions and threads. */
export class Connection {
  phase: Phase = { name: 'waiting', retryAt: undefined, event: { code: LOST, reason: '' } };
  readonly #options: ConnectionOptions;
  readonly #host: ConnectionHost;
  readonly #backoff: Backoff;
  #socket: WebSocketLike | undefined;
  /** Sockets that are given up but not closed: a close frame would end the session for the relay. */
  readonly #abandoned: WebSocketLike[] = [];
  /** Counts attempts. Whatever belongs to an earlier one is ignored. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #probe: ReturnType<typeof setTimeout> | undefined;
  #openedAt = 0;
  #heardAt = 0;
  #established = false;

  constructor(options: ConnectionOptions, host: ConnectionHost) {
    this.#options = options;
    this.#host = host;
    this.#backoff = new Backoff(options.backoff);
  }

  /** Characters that the socket has not sent yet. */
  get buffered(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  connect(): void {
    if (this.phase.name === 'connecting' || this.phase.name === 'open') return;
    this.#stopTimers();
    const attempt = ++this.#attempt;
    this.#established = false;
    this.#timer = setTimeout(() => this.#lost(attempt, 'The attempt timed out'), ATTEMPT_TIMEOUT_MS);
    this.#enter({ name: 'connecting' });
    const { url } = this.#options;
    if (typeof url === 'string') {
      this.#open(attempt, url);
      return;
    }
    Promise.resolve()
      .then(url)
      .then((address) => this.#open(attempt, address))
      .catch((error: unknown) => this.#lost(attempt, `url: ${error instanceof Error ? error.message : String(error)}`));
  }

  send(frame: object | string): void {
    this.#socket?.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The session is established: the sockets before this one are of no use to anybody. */
  established(): void {
    clearTimeout(this.#timer);
    this.#established = true;
    for (const socket of this.#abandoned.splice(0)) socket.close();
    this.#watch = setInterval(() => {
      if (this.#host.isWaiting() && Date.now() - this.#heardAt >= SILENCE_MS) this.check();
    }, SILENCE_MS / 2);
    this.#enter({ name: 'open' });
  }

  /** The connection was of use: the next loss starts with the shortest delay. */
  progressed(): void {
    this.#backoff.reset();
  }

  /** Connects at once where it waits; where it is open, finds out within three seconds whether it still works. */
  wake(): void {
    if (this.phase.name === 'waiting') this.connect();
    else this.check();
  }

  check(): void {
    if (!this.#established || this.#probe !== undefined) return;
    const attempt = this.#attempt;
    const askedAt = Date.now();
    this.send({ type: 'ping' });
    this.#probe = setTimeout(() => {
      this.#probe = undefined;
      // The page was frozen meanwhile: the answer may not have been delivered yet.
      if (Date.now() - askedAt > 2 * PING_TIMEOUT_MS) this.check();
      else this.#lost(attempt, 'No answer to a ping');
    }, PING_TIMEOUT_MS);
  }

  /** Gives the socket up and connects again. */
  drop(reason: string): void {
    this.#lost(this.#attempt, reason);
  }

  /** Closes for good. Resolves when the relay has confirmed it, or after two seconds. */
  async close(code: number, reason: string): Promise<void> {
    const socket = this.#socket;
    this.#attempt += 1;
    this.#socket = undefined;
    this.#stopTimers();
    for (const old of this.#abandoned.splice(0)) old.close();
    this.#enter({ name: 'closed', event: { code, reason } });
    if (socket === undefined || socket.readyState === 3) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      socket.onclose = () => {
        clearTimeout(timer);
        resolve();
      };
      socket.close(1000);
    });
  }

  #open(attempt: number, url: string): void {
    if (attempt !== this.#attempt) return;
    let socket: WebSocketLike;
    try {
      const { WebSocket, protocols } = this.#options;
      socket = new WebSocket(addressOf(url), protocols);
    } catch (error) {
      this.#lost(attempt, error instanceof Error ? error.message : String(error));
      return;
    }
    this.#socket = socket;
    // Handlers of a socket that was given up do nothing, since the attempt is another one by then.
    socket.onopen = () => {
      if (attempt !== this.#attempt) return;
      this.#openedAt = this.#heardAt = Date.now();
      this.#host.onOpen();
    };
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (attempt !== this.#attempt) return;
      this.#heardAt = Date.now();
      clearTimeout(this.#probe);
      this.#probe = undefined;
      if (typeof data === 'string') this.#host.onMessage(data);
    };
    socket.onclose = ({ code, reason }: CloseInfo) => this.#ended(attempt, { code, reason });
    // An `error` is always followed by `close`, which says more. Without a handler `ws` would throw it.
    socket.onerror = () => {};
  }

  #lost(attempt: number, reason: string): void {
    if (attempt !== this.#attempt) return;
    const socket = this.#socket;
    if (socket !== undefined && socket.readyState !== 3) {
      if (socket.terminate !== undefined) socket.terminate();
      // Nothing was sent on it yet, so it may be closed.
      else if (socket.readyState === 0) socket.close();
      else if (this.#abandoned.push(socket) > MAX_ABANDONED) this.#abandoned.shift();
    }
    this.#ended(attempt, { code: LOST, reason });
  }

  #ended(attempt: number, event: CloseInfo): void {
    if (attempt !== this.#attempt) return;
    this.#attempt += 1;
    this.#socket = undefined;
    this.#stopTimers();
    if (this.#established && Date.now() - this.#openedAt >= STABLE_MS) this.#backoff.reset();
    this.#established = false;
    if (!this.#retries(event)) {
      this.#enter({ name: 'closed', event });
      return;
    }
    if (event.code === IDLE) {
      this.#enter({ name: 'waiting', retryAt: undefined, event });
      return;
    }
    const delay = this.#backoff.next();
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#enter({ name: 'waiting', retryAt: Date.now() + delay, event });
  }

  #retries(event: CloseInfo): boolean {
    let decided: boolean | undefined;
    try {
      decided = this.#options.shouldRetry?.(event);
    } catch {
      // A function that fails has decided nothing.
    }
    return decided ?? !FINAL.has(event.code);
  }

  #enter(phase: Phase): void {
    this.phase = phase;
    this.#host.onPhase(phase);
  }

  #stopTimers(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#probe);
    clearInterval(this.#watch);
    this.#probe = undefined;
  }
}

/** The WebSocket address for what an application may give: `https://…`, or a path on the page's own host. */
export function addressOf(url: string): string {
  const { location } = globalThis as { location?: { href: string } };
  const address = new URL(url, location?.href);
  address.protocol = address.protocol.replace(/^http/, 'ws');
  return address.href;
}
