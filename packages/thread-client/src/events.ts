import type { InterruptedError, SessionLostError } from './errors.js';
import type { ClientState } from './options.js';
import type { Turn } from './turn.js';

/** What `client.on` listens to, with the arguments of each listener. */
export interface ThreadClientEvents {
  /** The connection's state has changed. */
  state: [state: ClientState];
  /** A turn ended without its answer, and the message may have reached the agent. */
  interrupted: [turn: Turn, error: InterruptedError];
  /** The session was lost together with turns or threads. What the agents were told before is forgotten. */
  lost: [error: SessionLostError];
  /** The storage failed, for example because it is full: a reload starts over from here on. */
  storage: [error: unknown];
  /** The relay complained about something that is no turn, or a listener threw. */
  error: [error: unknown];
}

/** Calls listeners by the name of an event. A listener that throws never disturbs its caller. */
export class Emitter<Events extends Record<keyof Events, unknown[]>> {
  readonly #listeners: { [Name in keyof Events]?: Set<(...args: Events[Name]) => void> } = {};
  readonly #onThrow: (error: unknown, event: keyof Events) => void;

  constructor(onThrow: (error: unknown, event: keyof Events) => void) {
    this.#onThrow = onThrow;
  }

  /** Returns a function that removes the listener. */
  on<Name extends keyof Events>(name: Name, listener: (...args: Events[Name]) => void): () => void {
    const listeners = this.#listeners[name] ?? new Set();
    this.#listeners[name] = listeners;
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    for (const listener of [...(this.#listeners[name] ?? [])]) {
      try {
        listener(...args);
      } catch (error) {
        this.#onThrow(error, name);
      }
    }
  }
}
