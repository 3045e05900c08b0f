import { tracingChannel } from 'node:diagnostics_channel';
import type { Session } from '../api.js';

/** What subscribers of the tracing channel `arc.session` get. One object for each session. */
export interface SessionContext {
  readonly sessionId: string;
  /** How often it has continued on a new connection. */
  resumed: number;
  /** Sends that have ended. */
  sends: number;
  /** With the end: chats that were ended, and chats that could not be ended. */
  ended?: number;
  orphans?: number;
  /** In the `error` event, and after it: what failed in the relay, so that the session was closed with 1011. */
  error?: unknown;
}

/**
 * `start` and `end` come when a connection is admitted, or a session of another node continues here; `asyncStart` and
 * `asyncEnd` when it has ended, or has left for another node; and `error` before these if the relay failed. Nothing is built
 * without subscribers.
 */
const sessionChannel = tracingChannel<SessionContext, SessionContext>('arc.session');

/** Publishes the sessions of a relay. */
export class SessionTraces {
  /** Those that began while somebody subscribed. */
  readonly #contexts = new WeakMap<Session, SessionContext>();
  #isUsed = false;

  opened(session: Session): void {
    if (!sessionChannel.hasSubscribers) return;
    const context = { sessionId: session.id, resumed: 0, sends: 0 };
    this.#contexts.set(session, context);
    this.#isUsed = true;
    sessionChannel.start.publish(context);
    sessionChannel.end.publish(context);
  }

  resumed(session: Session): void {
    const context = this.#find(session);
    if (context !== undefined) context.resumed += 1;
  }

  sendEnded(session: Session): void {
    const context = this.#find(session);
    if (context !== undefined) context.sends += 1;
  }

  failed(session: Session, error: unknown): void {
    const context = this.#find(session);
    if (context !== undefined) sessionChannel.error.publish(Object.assign(context, { error }));
  }

  closed(session: Session, outcomes: readonly { ok: boolean }[]): void {
    const context = this.#find(session);
    if (context === undefined) return;
    this.#contexts.delete(session);
    context.ended = outcomes.filter(({ ok }) => ok).length;
    context.orphans = outcomes.length - context.ended;
    sessionChannel.asyncStart.publish(context);
    sessionChannel.asyncEnd.publish(context);
  }

  #find(session: Session): SessionContext | undefined {
    return this.#isUsed ? this.#contexts.get(session) : undefined;
  }
}
