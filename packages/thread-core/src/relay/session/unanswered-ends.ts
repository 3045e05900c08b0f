import type { FrameId } from '@arc/thread-protocol';
import { type Bytes, encode } from '../../bytes.js';

/** The `end` frames of a session that are not answered yet. Their reasons are kept until then. */
export class UnansweredEnds {
  readonly #ends = new Map<Promise<void>, { id: FrameId | undefined; bytes: number }>();
  #bytes = 0;

  get size(): number {
    return this.#ends.size;
  }

  /** Size of the frames. */
  get bytes(): number {
    return this.#bytes;
  }

  ids(): FrameId[] {
    return Array.from(this.#ends.values(), ({ id }) => id).filter((id) => id !== undefined);
  }

  /** `answered` must not be rejected. */
  add(answered: Promise<void>, id: FrameId | undefined, bytes: number): void {
    this.#ends.set(answered, { id, bytes });
    this.#bytes += bytes;
    void answered.then(() => {
      this.#ends.delete(answered);
      this.#bytes -= bytes;
    });
  }

  /** Resolves when those so far are answered. */
  async whenAnswered(): Promise<void> {
    await Promise.all(this.#ends.keys());
  }
}

/** The members of the answer to an `end` frame. `text`: the answer of the agent, if there is one. */
export function writeEndedMembers(echo: Bytes, text: string | undefined): Bytes {
  return `"type":"ended"${echo}${text ? `,"response":${encode(text)}` : ''}}` as Bytes;
}
