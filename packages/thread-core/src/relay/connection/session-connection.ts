import type { IncomingMessage } from 'node:http';
import type { Bytes } from '../../bytes.js';
import type { Traffic } from '../monitoring/stats.js';
import type { ConnectionOwner } from './connection-owner.js';

/** The connection of a session: a socket of this node, or one of another node that passes its frames on. */
export interface SessionConnection {
  /** Undefined if another node has the socket. */
  readonly request: IncomingMessage | undefined;
  /** Its session. A session that is resumed becomes the owner of the connection on which that was asked for. */
  owner: ConnectionOwner;
  readonly isOpen: boolean;
  /** More than `maxBufferedBytes` wait for the client. */
  readonly isFull: boolean;
  readonly traffic: Traffic;
  /**
   * Writes a frame together with what follows in this turn of the event loop. Returns whether it is in a batch, for which
   * `owner.onBatch` will be called.
   */
  write(frame: Bytes): boolean;
  /** As `write`, for a frame that does not count as activity. */
  writeControl(frame: Bytes): void;
  /** Counts an invalid or rejected frame. Returns whether there were too many in a row. */
  countBadFrame(): boolean;
  /** A frame was accepted. */
  resetBadFrames(): void;
  /** Starts `stalledTimeout`, unless it runs: the client must read, or its session ends. */
  startStallTimer(): void;
  restartStallTimer(): void;
  stopStallTimer(): void;
  /** Called regularly by the relay. */
  sweep(pings: boolean, idleSweeps: number): void;
  /** @throws TypeError if a server may not send this code */
  close(code: number, reason: string): void;
  /** The session continues without this connection, whose events are ignored from now on. */
  release(): void;
  /** The connection was refused, and does not count for `maxSessions` while it is being closed. */
  releaseSlot(): void;
  /** Another connection has taken the place of this one. */
  replace(code: number, reason: string): void;
  /** Drops the connection without a close frame. */
  terminate(): void;
}
