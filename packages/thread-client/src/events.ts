import type { InterruptedError, SessionLostError } from './errors.js';
import type { ClientState } from './options.js';
import type { Turn } from './turn.js';

/** The events of `client.on`, and the arguments of their listeners. */
export interface ThreadClientEvents {
  /** The connection's state has changed. */
  state: [state: ClientState];
  /** A turn ended without its answer, and the message may have reached the agent. */
  interrupted: [turn: Turn, error: InterruptedError];
  /** The session was lost together with turns or threads. The agents have forgotten these conversations. */
  lost: [error: SessionLostError];
  /** The storage failed, for example because it is full: from now on a reload starts a new session. */
  storage: [error: unknown];
  /** The relay sent an error that belongs to no turn, or a frame that cannot be read, or a listener threw. */
  error: [error: unknown];
}

type EventName = keyof ThreadClientEvents;
type Listener<Name extends EventName> = (...args: ThreadClientEvents[Name]) => void;

/**
 * The listeners of the client's events. Listeners are called later, after the client has updated its state: they may send,
 * or close it. If one throws, the others are still called, and the error becomes an `error` event.
 */
export class Emitter {
  readonly #listeners: Partial<Record<EventName, Set<(...args: never) => void>>> = {};

  /** Returns a function that removes the listener. */
  on<Name extends EventName>(name: Name, listener: Listener<Name>): () => void {
    this.#listeners[name] ??= new Set();
    const listeners = this.#listeners[name].add(listener);
    return () => void listeners.delete(listener);
  }

  async emit<Name extends EventName>(name: Name, ...args: ThreadClientEvents[Name]): Promise<void> {
    // Not at once: the client is in the middle of a change.
    await undefined;
    for (const listener of [...(this.#listeners[name] ?? [])] as Listener<Name>[]) {
      try {
        listener(...args);
      } catch (error) {
        if (name !== 'error') void this.emit('error', error);
      }
    }
  }
}
