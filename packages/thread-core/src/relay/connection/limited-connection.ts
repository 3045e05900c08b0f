import type { RelayConfig } from '../options.js';
import type { ConnectionOwner } from './connection-owner.js';

/** The limits of every connection, wherever its socket is: invalid frames in a row, and time in which the client does not read. */
export abstract class LimitedConnection {
  /** Its session. A session that is resumed becomes the owner of the connection on which that was requested. */
  owner: ConnectionOwner;
  protected abstract readonly config: Pick<RelayConfig, 'maxBadFrames' | 'stalledTimeout'>;
  #badFrames = 0;
  #stallTimer: NodeJS.Timeout | undefined;

  constructor(owner: ConnectionOwner) {
    this.owner = owner;
  }

  /** The client has not read for `stalledTimeout`. */
  protected abstract onStalled(): void;

  /** Counts an invalid or rejected frame. Returns whether there were too many in a row. */
  countBadFrame(): boolean {
    this.#badFrames += 1;
    return this.#badFrames >= this.config.maxBadFrames;
  }

  /** A frame was accepted. */
  resetBadFrames(): void {
    this.#badFrames = 0;
  }

  /** Starts `stalledTimeout`, unless it runs: the client must read, or its session ends. */
  startStallTimer(): void {
    const { stalledTimeout } = this.config;
    if (stalledTimeout === 0 || this.#stallTimer !== undefined) return;
    this.#stallTimer = setTimeout(() => this.guard(() => this.onStalled()), stalledTimeout).unref();
  }

  restartStallTimer(): void {
    this.stopStallTimer();
    this.startStallTimer();
  }

  stopStallTimer(): void {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
  }

  /** Runs a callback of the socket or a timer. What it throws ends this session, and not the process. */
  protected guard(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.owner.onFailure(error);
    }
  }
}
