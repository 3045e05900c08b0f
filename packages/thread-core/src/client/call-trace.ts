import { tracingChannel } from 'node:diagnostics_channel';
import type { ArcMethod } from '@arc/thread-protocol';
import type { CallOwner, CallRequest } from './call-request.js';

/** What subscribers of the tracing channel `arc.call` get. One object for each call; fields appear as they become known. */
export interface CallContext {
  readonly method: ArcMethod;
  readonly agentId: string;
  readonly chatId: string | undefined;
  readonly traceId: string | undefined;
  /** The session of the relay, if the call is made for one. */
  readonly sessionId: string | undefined;
  /** The context that `arc.send` published for the send that needs this call, if any. */
  readonly send: object | undefined;
  /** Origin and path of the endpoint. Undefined until it is known. */
  address?: string | undefined;
  /** Bytes of the request's body. */
  requestBytes: number;
  /** Bytes of the answer, without framing. */
  bytes: number;
  /** HTTP requests so far: retries, redirects and the renewal of a token need more than one. */
  attempts: number;
  /** With the end: how the call ended. */
  state?: 'response' | 'done' | 'error' | 'cancelled';
  /** With `state: 'error'`, and before it in the `error` event. */
  error?: unknown;
  /** Headers that a subscriber adds when the call starts: they are sent with each request, in place of those of the same name. */
  headers?: Readonly<Record<string, string>>;
  /**
   * Set by a subscriber when the call starts: runs whatever sends an HTTP request, for example in the context of a span. It
   * must call `send` once.
   */
  run?: (send: () => void) => void;
}

/**
 * `start` and `end` frame the call's beginning; `asyncStart` and `asyncEnd` are published at its end, after `error` if it failed.
 * Nothing is built without subscribers.
 */
export const callChannel = tracingChannel<CallContext, CallContext>('arc.call');

/** Publishes the beginning and the end of one call. */
export class CallTrace {
  readonly context: CallContext;

  constructor({ method, targetAgent: agentId, traceId, params, chat }: CallRequest, owner: CallOwner | undefined) {
    const chatId = typeof params.chatId === 'string' ? params.chatId : undefined;
    const sessionId = sessionIdOf(owner?.session);
    const send = chat?.trace;
    this.context = { method, agentId, chatId, traceId, sessionId, send, requestBytes: 0, bytes: 0, attempts: 0 };
    callChannel.start.publish(this.context);
  }

  /** The call was made. */
  started(): void {
    callChannel.end.publish(this.context);
  }

  /** An HTTP request with this body is about to be sent. Returns its headers, with those of the subscribers. */
  sending(headers: string[], body: string, address: string): string[] {
    const { context } = this;
    context.attempts += 1;
    context.address = address;
    context.requestBytes = Buffer.byteLength(body);
    return context.headers === undefined ? headers : replaceHeaders(headers, context.headers);
  }

  finish(state: NonNullable<CallContext['state']>, error?: unknown): void {
    const { context } = this;
    context.state = state;
    if (state === 'error') {
      context.error = error;
      callChannel.error.publish(context);
    }
    callChannel.asyncStart.publish(context);
    callChannel.asyncEnd.publish(context);
  }
}

/** The id of a session of the relay; what an application passes as `session` may have none. */
export function sessionIdOf(session: unknown): string | undefined {
  const id = (session as { id?: unknown } | null | undefined)?.id;
  return typeof id === 'string' ? id : undefined;
}

function replaceHeaders(headers: string[], added: Readonly<Record<string, string>>): string[] {
  const names = new Set(Object.keys(added).map((name) => name.toLowerCase()));
  const kept: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    const [name, value] = [headers[index] as string, headers[index + 1] as string];
    if (!names.has(name.toLowerCase())) kept.push(name, value);
  }
  return [...kept, ...Object.entries(added).flat()];
}
