import { ARC_VERSION } from '@arc/thread-protocol';
import {
  AgentNotAvailableError,
  AgentTimeoutError,
  AgentUnreachableError,
  type ArcError,
  type ArcErrorOptions,
  AuthenticationError,
  MessageTooLargeError,
  StreamInterruptedError,
  UnsupportedVersionError,
} from '../protocol/errors.js';
import type { Attempt } from './attempt.js';
import type { Breaker } from './breaker.js';
import type { CallRequest } from './call-request.js';
import { describeTransportError, NotOwnerError } from './transport-error.js';

/** What an error of a call is about: the request, and what is known of its answer. */
export interface CallFacts extends ArcErrorOptions {
  readonly agentId: string;
}

export function factsOf({ targetAgent, method, traceId }: CallRequest, cause?: unknown): CallFacts {
  return { agentId: targetAgent, method, traceId, cause };
}

export function notArc(about: CallFacts, what: string): ArcError {
  return new AgentUnreachableError(`${nameOf(about)} gave no ARC answer: HTTP ${about.status}, ${what}`, about);
}

export function unsupportedVersion(about: CallFacts, version: string): ArcError {
  const shown = JSON.stringify(version.slice(0, 20));
  return new UnsupportedVersionError(`${nameOf(about)} answered in ARC ${shown}, not ${ARC_VERSION}`, about);
}

export function tooLarge(about: CallFacts, what: 'answer' | 'event', limit: number): ArcError {
  return new MessageTooLargeError(`${nameOf(about)} sent an ${what} of more than ${limit} bytes`, about);
}

export function streamBrokeOff(about: CallFacts, reason: string): ArcError {
  return new StreamInterruptedError(`The stream broke off: ${reason}`, about);
}

/** No connection was made, it was lost, or nothing may be written to it. */
export function connectionError(about: CallFacts, { isStream, hasBody }: Attempt): ArcError {
  // Nothing is known against the agent.
  if (about.cause instanceof NotOwnerError) {
    return new AgentNotAvailableError('Temporarily unavailable: try again later', about);
  }
  const reason = describeTransportError(about.cause);
  if (isStream) return streamBrokeOff(about, reason);
  if (hasBody) return new AgentUnreachableError(`The answer broke off: ${reason}`, about);
  return new AgentUnreachableError(`${nameOf(about)} is unreachable: ${reason}`, about);
}

/** The circuit breaker of the endpoint is open. */
export function circuitOpen(about: CallFacts, { failures, pauseLeft }: Breaker): ArcError {
  const pause = `is not asked again for ${Math.max(Math.ceil(pauseLeft), 1)} ms`;
  const cause = Object.assign(new Error('The circuit is open'), { code: 'ERR_CIRCUIT_OPEN' });
  const reason = `${nameOf(about)} ${pause}: its endpoint failed ${failures} times in a row`;
  return new AgentUnreachableError(reason, { ...about, cause });
}

/** The phases of a call that have time-outs. */
export type Phase = 'token' | 'answer' | 'stream' | 'whole stream';

export function timedOut(about: CallFacts, phase: Phase, timeout: number): ArcError {
  // What is left of a longer time has fractions.
  const limit = Math.ceil(timeout);
  switch (phase) {
    case 'token':
      return new AuthenticationError(`No token for the agent came within ${limit} ms`, about);
    case 'answer':
      return new AgentTimeoutError(`${nameOf(about)} did not answer within ${limit} ms`, about);
    case 'stream':
      return new StreamInterruptedError(`The stream stalled: nothing came for ${limit} ms`, about);
    case 'whole stream':
      return new StreamInterruptedError(
        `The stream took too long: it was not complete after ${limit} ms in all`,
        about,
      );
  }
}

function nameOf({ agentId }: CallFacts): string {
  return `Agent "${agentId}"`;
}
