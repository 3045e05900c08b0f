const MINUTE_MS = 60_000;

/** Limits how often each kind of line is logged, so that no client can fill the log. Kinds come from a fixed list. */
export class LogLimiter {
  readonly #perMinute: number;
  readonly #kinds = new Map<string, { since: number; lines: number; suppressed: number }>();

  constructor(perMinute = 10) {
    this.#perMinute = perMinute;
  }

  /** How many lines of this kind were suppressed since the last one that was logged; undefined to suppress this one. */
  take(kind: string, now = performance.now()): number | undefined {
    const known = this.#kinds.get(kind);
    if (known === undefined || now - known.since >= MINUTE_MS) {
      this.#kinds.set(kind, { since: now, lines: 1, suppressed: 0 });
      return known?.suppressed ?? 0;
    }
    known.lines += 1;
    if (known.lines <= this.#perMinute) return 0;
    known.suppressed += 1;
    return undefined;
  }
}
