import type { Transform } from 'node:stream';
import { createDecoder } from './content-decoder.js';

/** Gets what was decompressed. */
export interface DecodedBodyOwner {
  onDecoded(chunk: Buffer): void;
  onDecodedEnd(): void;
  onDecodeError(encoding: string): void;
}

/** The decompression of the body of one answer. Its decoder is created with the first chunk, because that says which it is. */
export class DecodedBody {
  readonly #owner: DecodedBodyOwner;
  readonly #encoding: string;
  #decoder: Transform | undefined;

  constructor(owner: DecodedBodyOwner, encoding: string) {
    this.#owner = owner;
    this.#encoding = encoding;
  }

  /** Whether a chunk has arrived. */
  get hasBegun(): boolean {
    return this.#decoder !== undefined;
  }

  /** Takes a chunk. False: no more is to come before `whenDrained`. */
  write(chunk: Buffer, isPaused: boolean): boolean {
    this.#decoder ??= this.#create(chunk, isPaused);
    return this.#decoder.write(chunk);
  }

  whenDrained(action: () => void): void {
    this.#decoder?.once('drain', action);
  }

  /** The body is complete. */
  end(): void {
    this.#decoder?.end();
  }

  /** The connection was lost: delivers what has arrived, and runs the action instead of telling the owner of the end. */
  endWith(action: () => void): void {
    this.#decoder?.removeAllListeners('end').removeAllListeners('error');
    this.#decoder?.once('end', action).once('error', action);
    this.#decoder?.end();
  }

  pause(): void {
    this.#decoder?.pause();
  }

  resume(): void {
    this.#decoder?.resume();
  }

  destroy(): void {
    this.#decoder?.destroy();
  }

  #create(first: Buffer, isPaused: boolean): Transform {
    const decoder = createDecoder(this.#encoding, first);
    decoder.on('data', (chunk: Buffer) => this.#owner.onDecoded(chunk));
    decoder.on('end', () => this.#owner.onDecodedEnd());
    decoder.on('error', () => this.#owner.onDecodeError(this.#encoding));
    if (isPaused) decoder.pause();
    return decoder;
  }
}
