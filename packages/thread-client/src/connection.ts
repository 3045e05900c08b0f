import type { CloseInfo, ThreadClientOptions, WebSocketConstructor, WebSocketLike } from './options.js';

/** For one attempt, from asking for the address until the session is established. */
const ATTEMPT_TIMEOUT_MS = 10_000;
const PING_TIMEOUT_MS = 3_000;
/** If the answer to a ping is looked for so late, the page was frozen. */
const FROZEN_MS = 6_000;
/** Turns are pending, and nothing was received for so long: ask whether the connection still works. */
const SILENCE_MS = 10_000;
/** How often the silence is looked at. */
const WATCH_MS = 5_000;
const CLOSE_TIMEOUT_MS = 2_000;

/** Close codes after which the client does not reconnect: another attempt would fail as well, or is not wanted. */
const FINAL = [1000, 1008, 4401, 4403, 4409];
const NORMAL = 1000;
const IDLE = 4408;
const LOST = 1006;

export type Phase =
  /** `connect` was not called yet. */
  | { status: 'idle' }
  | { status: 'connecting' }
  | { status: 'open' }
  | ({ status: 'waiting'; retryAt: number | undefined } & CloseInfo)
  | ({ status: 'closed' } & CloseInfo);

export type NewPhase = Exclude<Phase, { status: 'idle' | 'open' }>;

export interface ConnectionHost {
  /** The socket is open. The host establishes its session on it, and then calls `established()`. */
  onOpen(): void;
  onMessage(text: string): void;
  /** The phase has changed. Not called for `open`, which the host itself brings about. */
  onPhase(phase: NewPhase): void;
  /** Whether answers are outstanding, so that silence is suspicious. */
  isWaiting(): boolean;
}

export interface ConnectionOptions extends Pick<ThreadClientOptions, 'url' | 'protocols' | 'backoff' | 'shouldRetry'> {
  WebSocket: WebSocketConstructor;
}

/** A WebSocket that reconnects. It knows nothing of sessions and threads. */
export class Connection {
  phase: Phase = { status: 'idle' };
  readonly #options: ConnectionOptions;
  readonly #host: ConnectionHost;
  /** Attempts that failed in a row. */
  #failures = 0;
  #socket: WebSocketLike | undefined;
  /** A socket that is given up but not closed yet: a close frame would end the session for the relay. */
  #abandoned: WebSocketLike | undefined;
  /** Counts attempts. Whatever belongs to an earlier one is ignored. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #probe: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;

  constructor(options: ConnectionOptions, host: ConnectionHost) {
    this.#options = options;
    this.#host = host;
  }

  /** Characters that the socket has not sent yet. */
  get buffered(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  connect(): void {
    if (this.phase.status === 'connecting' || this.phase.status === 'open') return;
    this.#stopTimers();
    const attempt = ++this.#attempt;
    this.#timer = setTimeout(() => this.drop('timed out', attempt), ATTEMPT_TIMEOUT_MS);
    this.#enter({ status: 'connecting' });
    const { url } = this.#options;
    Promise.resolve()
      .then(() => (typeof url === 'function' ? url() : url))
      .then((address) => this.#open(attempt, address))
      .catch((error: unknown) => this.drop(String(error), attempt));
  }

  send(frame: object | string): void {
    this.#socket?.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The session is established: earlier sockets are not needed any more. */
  established(): void {
    clearTimeout(this.#timer);
    this.#abandoned?.close();
    this.#abandoned = undefined;
    this.#watch = setInterval(() => {
      // It has lasted for a while, so it counts as good.
      this.progressed();
      if (this.#host.isWaiting() && Date.now() - this.#heardAt >= SILENCE_MS) this.check();
    }, WATCH_MS);
    this.phase = { status: 'open' };
  }

  /** The connection works: after the next loss, delays start with the shortest. */
  progressed(): void {
    this.#failures = 0;
  }

  /**
   * Connects at once if it waits, and with `always` also if it is closed. If it is open, checks within three seconds whether
   * it still works.
   */
  wake(always = false): void {
    if (this.phase.status === 'waiting' || (always && this.phase.status === 'closed')) this.connect();
    else this.check();
  }

  check(): void {
    if (this.phase.status !== 'open' || this.#probe !== undefined) return;
    const attempt = this.#attempt;
    const askedAt = Date.now();
    this.send({ type: 'ping' });
    this.#probe = setTimeout(() => {
      this.#probe = undefined;
      // The page was frozen meanwhile: the answer may not have been delivered yet.
      if (Date.now() - askedAt > FROZEN_MS) this.check();
      else this.drop('no answer', attempt);
    }, PING_TIMEOUT_MS);
  }

  /** Closes for good. Resolves when the relay has confirmed it, or after two seconds. */
  async close(): Promise<void> {
    const socket = this.#socket;
    this.#attempt += 1;
    this.#socket = undefined;
    this.#stopTimers();
    this.#enter({ status: 'closed', code: NORMAL, reason: 'closed here' });
    if (socket === undefined || socket.readyState === 3) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      socket.onclose = () => {
        clearTimeout(timer);
        resolve();
      };
      socket.close(NORMAL);
    });
  }

  #open(attempt: number, url: string): void {
    if (attempt !== this.#attempt) return;
    const { WebSocket, protocols } = this.#options;
    const socket = new WebSocket(addressOf(url), protocols);
    this.#socket = socket;
    // Handlers of a socket that was given up do nothing, since the attempt is another one by then.
    socket.onopen = () => {
      if (attempt !== this.#attempt) return;
      this.#heardAt = Date.now();
      this.#host.onOpen();
    };
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (attempt !== this.#attempt) return;
      this.#heardAt = Date.now();
      clearTimeout(this.#probe);
      this.#probe = undefined;
      if (typeof data === 'string') this.#host.onMessage(data);
    };
    socket.onclose = (event: CloseInfo) => this.#ended(attempt, event);
    // An `error` is always followed by `close`, which says more. Without a handler `ws` would throw it.
    socket.onerror = () => {};
  }

  /** Gives the socket of an attempt up, and connects again. */
  drop(reason: string, attempt = this.#attempt): void {
    if (attempt !== this.#attempt) return;
    const socket = this.#socket;
    if (socket?.terminate !== undefined) socket.terminate();
    // Nothing was sent on it yet, so it may be closed.
    else if (socket?.readyState === 0) socket.close();
    else if (socket !== undefined) this.#abandoned = socket;
    this.#ended(attempt, { code: LOST, reason });
  }

  #ended(attempt: number, event: CloseInfo): void {
    if (attempt !== this.#attempt) return;
    const retries = this.#retries(event);
    // The application may have closed the client in `shouldRetry`.
    if (attempt !== this.#attempt) return;
    this.#attempt += 1;
    this.#socket = undefined;
    this.#stopTimers();
    const { code, reason } = event;
    if (!retries) return this.#enter({ status: 'closed', code, reason });
    let retryAt: number | undefined;
    if (code !== IDLE) {
      const delay = this.#delay();
      this.#timer = setTimeout(() => this.connect(), delay);
      retryAt = Date.now() + delay;
    }
    this.#enter({ status: 'waiting', retryAt, code, reason });
  }

  /** Random up to a bound that doubles with each failure ("full jitter"), so that clients spread out. */
  #delay(): number {
    const { min = 500, max = 30_000 } = this.#options.backoff ?? {};
    return Math.random() * Math.min(max, min * 2 ** this.#failures++);
  }

  #retries(event: CloseInfo): boolean {
    let decided: boolean | undefined;
    try {
      decided = this.#options.shouldRetry?.(event);
    } catch {
      // A function that fails has decided nothing.
    }
    return decided ?? !FINAL.includes(event.code);
  }

  #enter(phase: NewPhase): void {
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
