import { type ArcMessage, text } from '@arc/thread-protocol';
import type { Channel } from './channel.js';
import { addressOf, placeOf } from './connection.js';
import { Emitter, type ThreadClientEvents } from './events.js';
import type {
  ClientState,
  EndOptions,
  SendOptions,
  ThreadClientOptions,
  ThreadInfo,
  WebSocketConstructor,
} from './options.js';
import { watchPage } from './page.js';
import { randomName } from './random-name.js';
import { Session } from './session.js';
import { SessionStore } from './storage.js';
import { tabLock } from './tab-lock.js';
import type { Turn } from './turn.js';

/** A connection to a relay that reconnects by itself, and the conversations over it. Made by `createThreadClient`. */
export interface ThreadClient {
  /**
   * Sends a message. A string becomes a text message. Without a connection it is sent as soon as there is one. Never
   * throws for the state of the connection: the turn fails instead. `agentId` may be undefined if the relay routes.
   */
  send(agentId: string | undefined, message: string | ArcMessage, options?: SendOptions): Turn;
  /** Ends a thread, and the agent's chat with it. Resolves when the relay has confirmed it. */
  end(agentId: string, options?: EndOptions): Promise<void>;
  /** The threads that are open. */
  threads(): ThreadInfo[];
  /** The turns that have not ended. After a reload with `storage`, those of the page before are among them. */
  pending(): Turn[];
  /** A new object with each change. */
  readonly state: ClientState;
  /** Whether the relay keeps sessions over a lost connection; undefined until it is known. */
  readonly resumable: boolean | undefined;
  /** Adds a listener. Returns a function that removes it. */
  on<Name extends keyof ThreadClientEvents>(
    event: Name,
    listener: (...args: ThreadClientEvents[Name]) => void,
  ): () => void;
  /** Connects at once instead of waiting, also after a refusal. An open connection is tested. */
  wake(): void;
  /** Ends the session and all its threads. Pending turns fail with `ClosedError`. Never rejects. */
  close(): Promise<void>;
}

/** Creates a client and connects it. Throws a TypeError for options that can't work. */
export function createThreadClient(options: ThreadClientOptions): ThreadClient {
  return new Client(options);
}

class Client implements ThreadClient {
  readonly #events = new Emitter();
  readonly #session: Session;
  readonly #channel: Channel;
  /** Aborted by `close`: removes the listeners on what outlives the client. */
  readonly #controller = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(options: ThreadClientOptions) {
    const {
      resume = true,
      storage,
      signal,
      WebSocket = globalThis.WebSocket as WebSocketConstructor | undefined,
    } = options;
    if (!WebSocket) {
      throw new TypeError("No WebSocket: pass that of the 'ws' package");
    }
    // Not that of a function: each address may have another ticket, and only an attempt to connect may ask for one.
    const place = typeof options.url === 'string' ? placeOf(addressOf(options.url)) : '';
    const store =
      resume && storage ? new SessionStore(storage, place, (error) => this.#events.emit('storage', error)) : undefined;
    this.#session = new Session({ ...options, WebSocket, resume, store }, this.#events);
    this.#channel = this.#session.channel;
    watchPage(() => this.#channel.connection.wake(), this.#controller);
    if (signal?.aborted) void this.close();
    else if (!store) this.#channel.connection.connect();
    else void this.#restore(store);
    signal?.addEventListener('abort', () => this.close(), this.#controller);
  }

  get state(): ClientState {
    return this.#channel.state;
  }

  get resumable(): boolean | undefined {
    return this.#channel.resumable;
  }

  send(agentId: string | undefined, message: string | ArcMessage, options: SendOptions = {}): Turn {
    return this.#session.send(agentId, typeof message === 'string' ? text(message) : message, options);
  }

  end(agentId: string, options: EndOptions = {}): Promise<void> {
    return this.#session.end(agentId, options);
  }

  threads(): ThreadInfo[] {
    return this.#session.threads.list;
  }

  pending(): Turn[] {
    return this.#session.turns;
  }

  on<Name extends keyof ThreadClientEvents>(
    event: Name,
    listener: (...args: ThreadClientEvents[Name]) => void,
  ): () => void {
    return this.#events.on(event, listener);
  }

  wake(): void {
    if (!this.#closed) this.#channel.connection.wake(true);
  }

  close(): Promise<void> {
    this.#controller.abort();
    this.#closed ??= this.#channel.connection.close();
    this.#session.store?.release();
    return this.#closed;
  }

  /** Takes over what the page before a reload has stored, unless this tab is a duplicate of one that still lives. */
  async #restore(store: SessionStore): Promise<void> {
    store.load((saved) => this.#session.restore(saved));
    const isOwn = await tabLock(store.tab);
    // What is stored may be that of the next client by now.
    if (this.#closed) return;
    if (!isOwn) {
      store.clear();
      store.tab = randomName();
      this.#session.abandon('duplicate');
      void tabLock(store.tab);
    }
    this.#channel.connection.connect();
  }
}
