/** Runs writes one after the other. A failed write does not stop those after it. */
export class WriteQueue {
  #last: Promise<unknown> = Promise.resolve();
  #pending = 0;

  get isEmpty(): boolean {
    return this.#pending === 0;
  }

  add(write: () => Promise<void>): Promise<void> {
    this.#pending += 1;
    const done = this.#last.then(write).finally(() => {
      this.#pending -= 1;
    });
    this.#last = done.catch(() => undefined);
    return done;
  }
}
