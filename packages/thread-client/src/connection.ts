import type { CloseInfo, ThreadClientOptions, WebSocketConstructor, WebSocketLike } from './options.js';

/** For one attempt, from asking for the address until the session is established. */
const ATTEMPT_TIMEOUT_MS = 10_000;
/** How long a pong may take, if nothing else is under way. */
const PING_TIMEOUT_MS = 3_000;
/** If turns are pending and nothing was received for this long, a ping is sent. */
const SILENCE_MS = 10_000;
/** How often the silence is checked. */
const SILENCE_CHECK_MS = 5_000;
const CLOSE_TIMEOUT_MS = 2_000;

/** Close codes. They are before `FINAL`, so that esbuild can inline them. */
const NORMAL = 1000;
const LOST = 1006;
const IDLE = 4408;

/** Close codes after which the client does not reconnect: another attempt would fail as well, or is not wanted. */
const FINAL = [NORMAL, 4401, 4403, 4409];

export type Phase =
  /** `connect` was not called yet. */
  | { status: 'idle' }
  | { status: 'connecting' }
  | { status: 'established' }
  | ({ status: 'waiting'; retryAt: number | undefined } & CloseInfo)
  | ({ status: 'closed' } & CloseInfo);

export type NewPhase = Exclude<Phase, { status: 'idle' | 'established' }>;

export interface ConnectionHost {
  /** Whether the relay keeps the session if the connection is dropped. */
  readonly resumable: boolean | undefined;
  /** The socket is open. The host establishes its session on it, and then calls `established()`. */
  onOpen(): void;
  onMessage(text: string): void;
  /** The phase has changed. Not called when the session is established: the host calls `established()` itself. */
  onPhase(phase: NewPhase): void;
  /** Whether answers are outstanding: silence is suspicious then, and a connection is needed. */
  isWaiting(): boolean;
}

export interface ConnectionOptions extends Pick<ThreadClientOptions, 'url' | 'protocols' | 'backoff' | 'shouldRetry'> {
  WebSocket: WebSocketConstructor;
}

/** A WebSocket that reconnects. It knows nothing of sessions and threads. */
export class Connection {
  phase: Phase = { status: 'idle' };
  /** Attempts that failed in a row. 0 once a connection works: delays start with the shortest again. */
  failures = 0;
  /** Where the last attempt went. */
  declare place: string;
  readonly #options: ConnectionOptions;
  readonly #host: ConnectionHost;
  #socket: WebSocketLike | undefined;
  /** Abandoned sockets that are not closed yet: on a close frame the relay would end the session. */
  readonly #abandoned = new Set<WebSocketLike>();
  /** Counts attempts. Whatever belongs to an earlier one is ignored. */
  #attempt = 0;
  /** The time-out of the attempt, or the delay before the next one. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silenceTimer: ReturnType<typeof setInterval> | undefined;
  #pongTimer: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;
  /** Pings in a row after which nothing came in time. */
  #unanswered = 0;

  constructor(options: ConnectionOptions, host: ConnectionHost) {
    this.#options = options;
    this.#host = host;
  }

  /** Characters that the socket has not sent yet. */
  get buffered(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Only to be called while there is neither a connection nor an attempt. */
  connect(): void {
    this.#enter({ status: 'connecting' });
    const attempt = this.#attempt;
    this.#timer = setTimeout(() => this.drop('no answer', attempt), ATTEMPT_TIMEOUT_MS);
    this.#open(attempt).catch((error: unknown) => this.drop(String(error), attempt));
  }

  send(frame: object | string): void {
    this.#socket?.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The session is established: earlier sockets are not needed any more. */
  established(): void {
    clearTimeout(this.#timer);
    this.#closeAbandoned();
    this.#silenceTimer = setInterval(() => {
      // It has lasted for a while, so it counts as good.
      this.failures = 0;
      if (this.#host.isWaiting() && Date.now() - this.#heardAt >= SILENCE_MS) this.check();
    }, SILENCE_CHECK_MS);
    this.phase = { status: 'established' };
  }

  /** Connects at once if it waits, and with `always` also if it is closed. If it is open, checks whether it still works. */
  wake(always?: boolean): void {
    if (this.phase.status === 'waiting' || (always && this.phase.status === 'closed')) this.connect();
    else this.check();
  }

  /** Sends a ping, and drops the connection if nothing arrives in time. */
  check(): void {
    if (this.phase.status !== 'established' || this.#pongTimer) return;
    const attempt = this.#attempt;
    const askedAt = Date.now();
    // The pong comes behind what is under way, such as a large answer on a slow network: it may take twice as long each time,
    // or that answer would be fetched again for ever. A session that ends with the connection is not given up in haste.
    const doublings = !this.#host.isWaiting() ? 0 : this.#host.resumable ? this.#unanswered : 3;
    const limit = PING_TIMEOUT_MS * 2 ** doublings;
    this.send({ type: 'ping' });
    this.#pongTimer = setTimeout(() => {
      this.#pongTimer = undefined;
      // The page was frozen meanwhile: the answer may not have been delivered yet.
      if (Date.now() - askedAt > limit * 2) return this.check();
      this.#unanswered++;
      this.drop('no answer', attempt);
    }, limit);
  }

  /** Closes for good. Resolves when the relay has confirmed it, or after two seconds. */
  async close(): Promise<void> {
    const socket = this.#socket;
    this.#enter({ status: 'closed', code: NORMAL, reason: 'closed here' });
    if (!socket) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      socket.onclose = () => {
        clearTimeout(timer);
        resolve();
      };
      socket.close(NORMAL);
    });
  }

  async #open(attempt: number): Promise<void> {
    // The application may not have the client yet.
    await undefined;
    const { url, WebSocket, protocols } = this.#options;
    const address = addressOf(await (typeof url === 'function' ? url() : url));
    if (attempt !== this.#attempt) return;
    this.place = placeOf(address);
    const socket = new WebSocket(address.href, protocols);
    this.#socket = socket;
    // Handlers of an abandoned socket do nothing: the number of the attempt has changed.
    socket.onopen = () => {
      if (attempt !== this.#attempt) return;
      this.#heardAt = Date.now();
      this.#host.onOpen();
    };
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (attempt !== this.#attempt) return;
      this.#heardAt = Date.now();
      if (this.#pongTimer) this.#unanswered = 0;
      clearTimeout(this.#pongTimer);
      this.#pongTimer = undefined;
      if (typeof data === 'string') this.#host.onMessage(data);
    };
    socket.onclose = (event: CloseInfo) => {
      this.#abandoned.delete(socket);
      this.#onDisconnect(attempt, event);
    };
    // An `error` is followed by `close`, which says more, but not where Node 22 cannot connect. Without a handler `ws` would throw it.
    socket.onerror = () => {
      if (!socket.readyState) this.#onDisconnect(attempt, { code: LOST, reason: '' });
    };
  }

  /** Abandons the socket of an attempt, and reconnects. */
  drop(reason: string, attempt = this.#attempt): void {
    if (attempt !== this.#attempt) return;
    const socket = this.#socket;
    if (socket?.terminate) socket.terminate();
    // Nothing was sent on it yet, so it may be closed.
    else if (!socket?.readyState) socket?.close();
    else this.#abandoned.add(socket);
    this.#onDisconnect(attempt, { code: LOST, reason });
  }

  #onDisconnect(attempt: number, event: CloseInfo): void {
    if (attempt !== this.#attempt) return;
    let shouldRetry: boolean | undefined;
    // The application may close the client in `shouldRetry`: nothing has to be waited for then.
    this.#socket = undefined;
    try {
      shouldRetry = this.#options.shouldRetry?.(event);
    } catch {
      // If it throws, the close code decides.
    }
    if (attempt !== this.#attempt) return;
    const { code, reason } = event;
    if (!(shouldRetry ?? !FINAL.includes(code))) return this.#enter({ status: 'closed', code, reason });
    // After an idle close the next send reconnects. One that crossed the close has not arrived.
    const isDue = shouldRetry || code !== IDLE || this.#host.isWaiting();
    const { min = 500, max = 30_000 } = this.#options.backoff ?? {};
    // Random up to a bound that doubles with each failure ("full jitter"), so that clients spread out.
    const delay = isDue ? Math.random() * Math.min(max, min * 2 ** this.failures++) : undefined;
    this.#enter({ status: 'waiting', retryAt: delay && Date.now() + delay, code, reason });
    if (isDue) this.#timer = setTimeout(() => this.connect(), delay);
  }

  /** Nothing of the phase before goes on: no timer, no attempt, and no socket. */
  #enter(phase: NewPhase): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#pongTimer);
    clearInterval(this.#silenceTimer);
    this.#pongTimer = undefined;
    this.#attempt++;
    this.#socket = undefined;
    this.phase = phase;
    if (phase.status === 'closed') this.#closeAbandoned();
    this.#host.onPhase(phase);
  }

  #closeAbandoned(): void {
    for (const socket of this.#abandoned) socket.close();
  }
}

/** The WebSocket address for what an application may give: `https://…`, or a path on the page's own host. */
export function addressOf(url: string): URL {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace('http', 'ws');
  return address;
}

/** An address without credentials and query, in which a ticket may be. */
export function placeOf({ origin, pathname }: URL): string {
  return origin + pathname;
}
