import { type ClientFrame, parseFrame, type RelayFrame } from './frames.js';

export type ConnectionState =
  | { name: 'connecting' }
  | { name: 'connected' }
  | { name: 'closed'; code: number; reason: string; retryAt: number | undefined };

const MEANINGS: Readonly<Record<number, string>> = {
  1000: 'Closed',
  1001: 'The server is shutting down',
  1006: 'No connection to the server',
  1008: 'Refused by the server',
  1009: 'A message was too large',
  1011: 'The server failed',
  1013: 'The server is full',
  4401: 'Not signed in',
  4403: 'This page may not connect',
  4408: 'Closed after a long silence',
  4409: 'Continued in another window',
  4429: 'Too many messages',
};

/** After these a retry by itself would only be refused again, or is not wanted. */
const FINAL = new Set([1008, 4401, 4403, 4408, 4409]);

const FIRST_DELAY = 500;
const LONGEST_DELAY = 30_000;
/** A connection that lasted this long was a good one: the next loss starts with the shortest delay again. */
const GOOD_AFTER = 10_000;

export function meaningOf(code: number): string {
  return MEANINGS[code] ?? 'The connection was closed';
}

/** A WebSocket that comes back: each reconnect is a new session, with no memory of the one before. */
export class Connection {
  state: ConnectionState = { name: 'connecting' };
  readonly #url: string;
  readonly #onState: (state: ConnectionState) => void;
  readonly #onFrame: (frame: RelayFrame) => void;
  #socket: WebSocket | undefined;
  #openedAt = 0;
  #failures = 0;
  #timer: number | undefined;

  constructor(url: string, onState: (state: ConnectionState) => void, onFrame: (frame: RelayFrame) => void) {
    this.#url = url;
    this.#onState = onState;
    this.#onFrame = onFrame;
    window.addEventListener('online', () => this.#retryEarly());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#retryEarly();
    });
  }

  connect(): void {
    if (this.#socket !== undefined) return;
    clearTimeout(this.#timer);
    this.#enter({ name: 'connecting' });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener('open', () => {
      this.#openedAt = Date.now();
      this.#enter({ name: 'connected' });
    });
    socket.addEventListener('message', (event: MessageEvent<unknown>) => {
      const frame = typeof event.data === 'string' ? parseFrame(event.data) : undefined;
      if (frame !== undefined) this.#onFrame(frame);
    });
    socket.addEventListener('close', (event) => this.#closed(event.code, event.reason));
  }

  /** False where there is no connection: nothing was sent then. */
  send(frame: ClientFrame): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #closed(code: number, reason: string): void {
    this.#socket = undefined;
    if (this.#openedAt > 0 && Date.now() - this.#openedAt > GOOD_AFTER) this.#failures = 0;
    this.#openedAt = 0;
    let retryAt: number | undefined;
    if (!FINAL.has(code)) {
      // Half of the delay is random, so that many pages do not come back to a restarted server in one moment.
      const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures) * (0.5 + Math.random() / 2);
      this.#failures += 1;
      this.#timer = window.setTimeout(() => this.connect(), delay);
      retryAt = Date.now() + delay;
    }
    this.#enter({ name: 'closed', code, reason, retryAt });
  }

  #retryEarly(): void {
    if (this.state.name === 'closed' && this.state.retryAt !== undefined) this.connect();
  }

  #enter(state: ConnectionState): void {
    this.state = state;
    this.#onState(state);
  }
}
