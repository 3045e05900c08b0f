import type { Endpoint } from './endpoint.js';
import type { StreamEvent } from './event.js';

/** The call that makes an attempt. What one of these methods throws ends the call, by `onFault`. */
export interface AttemptOwner {
  /** Whether the request may be written now. */
  readonly mayWrite: boolean;
  /** Whether cookies that the answer sets are wanted. */
  readonly keepsCookies: boolean;
  onCookies(setCookie: string | string[], endpoint: Endpoint): void;
  /** The target of a redirect; undefined if it is not followed, and the call has failed. */
  onRedirect(location: string): Endpoint | undefined;
  /** The body of a redirect has been read, and the connection can be used again. */
  onRedirectEnd(endpoint: Endpoint): void;
  onStreamStart(): void;
  /** Bytes of a stream have arrived. */
  onProgress(): void;
  onStreamEvent(event: StreamEvent): void;
  /** A stream has ended. `isComplete`: its HTTP body says so, and was not just cut. */
  onStreamEnd(isComplete: boolean): void;
  /** An answer that is not a stream. */
  onBody(body: Buffer): void;
  onTooLarge(what: 'answer' | 'event', limit: number): void;
  /** The answer cannot be decoded, for this reason. */
  onUndecodable(reason: string): void;
  /** No connection was made, or it was lost. */
  onConnectionError(error: unknown): void;
  /** As `onConnectionError`, of an attempt that was aborted before there was a connection. */
  onConnectFailure(error: unknown): void;
  /** The rest of an answer that is not needed any more has arrived, or its connection has failed. */
  onDrained(): void;
  /** A fault of this side. */
  onFault(error: unknown): void;
}

/** Sizes in bytes, after decompression. */
export interface AttemptLimits {
  readonly maxResponseBytes: number;
  readonly maxEventBytes: number;
}
