import { type Deferred, defer } from '../../deferred.js';
import type { Reply } from './reply.js';

/** The empty set that all sessions without further replies share. */
const NO_REPLIES: Set<Reply> = new Set();

/** The replies of one session that are pending, and the size of the frames that they answer. */
export class ReplySet {
  /** The oldest pending reply; usually the only one, so that a set is rarely needed. */
  #first: Reply | undefined;
  #others = NO_REPLIES;
  #bytes = 0;
  /** Exists while somebody waits for the last reply. */
  #empty: Deferred<void> | undefined;

  /** Sends that run or wait. */
  get size(): number {
    return this.#others.size + (this.#first === undefined ? 0 : 1);
  }

  /** Size of the message frames that are not answered yet. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Sends that wait for another send of their thread. */
  get waiting(): number {
    let waiting = 0;
    for (const { isWaiting } of this.replies()) if (isWaiting) waiting += 1;
    return waiting;
  }

  protected replies(): Reply[] {
    return this.#first === undefined ? [] : [this.#first, ...this.#others];
  }

  protected insert(reply: Reply): void {
    this.#bytes += reply.bytes;
    if (this.#first === undefined) {
      this.#first = reply;
    } else {
      if (this.#others === NO_REPLIES) this.#others = new Set();
      this.#others.add(reply);
    }
  }

  /** Removes a reply. Those who wait for the last one are told by `noteEmpty`. */
  protected remove(reply: Reply): void {
    if (this.#first !== reply) {
      if (this.#others.delete(reply)) this.#bytes -= reply.bytes;
      return;
    }
    this.#bytes -= reply.bytes;
    const [next] = this.#others;
    this.#first = next;
    if (next !== undefined) this.#others.delete(next);
  }

  /** Resolves when nothing is pending. */
  async whenEmpty(): Promise<void> {
    if (this.size === 0) return;
    this.#empty ??= defer();
    await this.#empty.promise;
  }

  protected noteEmpty(): void {
    if (this.#empty === undefined || this.size > 0) return;
    this.#empty.resolve();
    this.#empty = undefined;
  }
}
