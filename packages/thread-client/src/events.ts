import type { InterruptedError, SessionLostError } from './errors.js';
import type { ClientState } from './options.js';
import type { Turn } from './turn.js';

/** What `client.on` listens to, with the arguments of each listener. */
export interface ThreadClientEvents {
  /** The connection's state has changed. */
  state: [state: ClientState];
  /** A turn ended without its answer, and the message may have reached the agent. */
  interrupted: [turn: Turn, error: InterruptedError];
  /** The session was lost together with turns or threads. The agents have forgotten these conversations. */
  lost: [error: SessionLostError];
  /** The storage failed, for example because it is full: a reload starts over from here on. */
  storage: [error: unknown];
  /** The relay complained about something that is no turn, or a listener threw. */
  error: [error: unknown];
}

type EventName = keyof ThreadClientEvents;
type Listener<Name extends EventName> = (...args: ThreadClientEvents[Name]) => void;

/**
 * Calls listeners by the name of an event, when the client has done what the event tells of: a listener may close it, or
 * send. If one throws, the others are still called, and the error becomes an `error` event.
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
