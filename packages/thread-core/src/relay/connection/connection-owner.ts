import type { ReadFrame } from '../frames/frame-reader.js';

/** What a connection needs of its session. */
export interface ConnectionOwner {
  /** Nothing is pending: the connection may be closed as idle. */
  readonly isIdle: boolean;
  /** The connection has ended, and its pending sends may end all the same: until then it counts for `maxSessions`. */
  readonly finishing?: Promise<void> | undefined;
  /** Whether a frame counts neither for `frameRate` nor as activity. */
  isExempt(frame: ReadFrame): boolean;
  onFrame(frame: ReadFrame, text: string, bytes: number): void;
  /** A frame exceeded `frameRate`. */
  onExcessFrame(frame: ReadFrame, text: string, bytes: number): void;
  /** These frames are written now, each with its WebSocket header. */
  onBatch(frames: string): void;
  /** `isFull` has changed. */
  onBackpressure(): void;
  /** The client violated a rule: its session ends with this close code. */
  onViolation(code: number, reason: string): void;
  /** The connection ends, and not by `close`: frames are neither read nor sent any more. May be called twice. */
  onDisconnect(code: number): void;
  /** The WebSocket is closed. Called once. */
  onClosed(code: number, error: unknown): void;
  /** A callback of the socket threw. */
  onFailure(error: unknown): void;
}

const ignore = (): void => {};

/** The owner of a connection that its session has released: all events are ignored. */
export const NO_OWNER: ConnectionOwner = {
  isIdle: false,
  isExempt: () => true,
  onFrame: ignore,
  onExcessFrame: ignore,
  onBatch: ignore,
  onBackpressure: ignore,
  onViolation: ignore,
  onDisconnect: ignore,
  onClosed: ignore,
  onFailure: ignore,
};
