import type { ResumeFrame } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import type { ThreadManager } from '../../threads/thread-manager.js';
import type { FrameEcho } from '../frames/frame-echo.js';
import type { Resumption } from '../resume/resumption.js';
import type { PendingSends } from '../sends/pending-sends.js';
import type { ReplyOutput } from '../sends/reply.js';

/** What incoming frames need of their session. */
export interface ReceivingSession extends ReplyOutput {
  readonly isAdmitted: boolean;
  /** Frames are still handled: the session has not begun to end. */
  readonly isReceiving: boolean;
  /** Backpressure: the client does not read. */
  readonly isBlocked: boolean;
  /** More than `maxBufferedBytes` wait in the connection. */
  readonly isConnectionFull: boolean;
  readonly threads: ThreadManager;
  readonly resumption: Resumption | undefined;
  /** The pending sends, if there have been any. */
  readonly existingSends: PendingSends | undefined;
  readonly sends: PendingSends;
  rejectFrame(error: unknown, echo: FrameEcho, isClientFault?: boolean): void;
  acceptFrame(): void;
  /** A promise if this node must first make sure that it still owns the session. It may be rejected. */
  checkOwnership(): Promise<void> | undefined;
  /** Answers a `pong` or another frame that is never numbered. */
  writeControl(frame: Bytes): void;
  /** The first frame asks for a resumable session, or to continue one. A promise if that has to be waited for. */
  onResume(frame: ResumeFrame): Promise<void> | undefined;
  /** An acknowledgement has arrived. `isNew`: it is of frames that were not acknowledged before. */
  onAck(isNew: boolean): void;
}
