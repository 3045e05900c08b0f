import { deferred } from '@arc/test-client';

/** Whoever passes waits until it is released next; no longer once the gate is open. */
export class Gate {
  #next: { promise: Promise<void>; resolve(): void } = deferred();

  pass(): Promise<void> {
    return this.#next.promise;
  }

  release(): void {
    this.#next.resolve();
    this.#next = deferred();
  }

  open(): void {
    this.#next.resolve();
  }
}
