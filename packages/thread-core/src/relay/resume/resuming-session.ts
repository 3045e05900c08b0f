import type { FrameId } from '@arc/thread-protocol';
import type { Session } from '../api.js';
import type { SessionRecord } from '../cluster/session-record.js';
import type { ConnectionOwner } from '../connection/connection-owner.js';
import type { SessionConnection } from '../connection/session-connection.js';
import type { FrameEcho } from '../frames/frame-echo.js';
import type { ResumableSession } from './resumable-sessions.js';
import type { Resumption, ResumptionOwner } from './resumption.js';

/** What resuming needs of a session. */
export interface ResumingSession extends Session, ConnectionOwner, ResumptionOwner, ResumableSession {
  identity: unknown;
  connection: SessionConnection | undefined;
  resumption: Resumption | undefined;
  /** Nothing new is started. */
  readonly isEnding: boolean;
  /** It has threads, pending sends, frames that wait or were not acknowledged: something to come back to. */
  readonly isWorthKeeping: boolean;
  /** Frames are held, or `end` frames are being answered. */
  readonly hasUnansweredFrames: boolean;
  /** No frame was held, and nothing is awaited. */
  readonly areFramesHandled: boolean;
  /** Ids of the messages that are pending or held. */
  messageIds(): FrameId[];
  /** Ids of the messages and `end` frames that are not answered yet. */
  pendingIds(): FrameId[];
  rejectFrame(error: unknown, echo: FrameEcho): void;
  /** In a cluster: what the store has of it. */
  readonly record: SessionRecord | undefined;
  /** Starts nothing new. A promise if `onDisconnect` lets pending sends end first. */
  finishSends(): Promise<void> | undefined;
  /** Nothing is left but to end the chats. */
  complete(): void;
  /** In a cluster: gives the session, in which nothing runs, up for whichever node its client connects to. */
  park(): void;
}
