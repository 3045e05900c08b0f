/** Bytes of JSON for the object of a line. With message, time and the logger's own fields the line stays below 8 KiB. */
const MAX_BYTES = 6 * 1024;

/** Bytes of the texts of a line that is too long. */
const MAX_MESSAGE = 768;
const MAX_STACK = 2048;
const MAX_TEXT = 300;

/** Levels of nesting that are measured; what is nested more deeply counts as too long. */
const MAX_DEPTH = 20;

/** Fields of an object, and items of an array, that are kept of a line that is too long. */
const MAX_FIELDS = 12;

/** Bytes of JSON at most for each byte of a Buffer or a typed array, of which some have an index beside each. */
const BYTES_OF_BYTE = 12;

const LEFT_OUT = '[too long to be logged]';

/** What a log line is about, as it is if it is short; else a copy with its texts cut, and nested objects left out. */
export function boundLine(about: object): object {
  return new Size().of(about) <= MAX_BYTES ? about : cutFields(about);
}

/** Estimates how long the JSON of a value is, and stops once it is too long. */
class Size {
  #bytes = 0;
  readonly #seen = new Set<object>();

  of(value: unknown): number {
    this.#add(value, 0);
    return this.#bytes;
  }

  #add(value: unknown, depth: number): void {
    if (depth > MAX_DEPTH) this.#bytes = Number.POSITIVE_INFINITY;
    if (this.#bytes > MAX_BYTES) return;
    if (typeof value === 'string') this.#bytes += bytesOf(value);
    else if (typeof value !== 'object' || value === null) this.#bytes += 24;
    else if (!this.#seen.has(value)) {
      this.#seen.add(value);
      if (value instanceof Error) {
        // Loggers write the message once more, in the stack.
        for (const text of [value.name, value.message, value.stack, value.cause]) this.#add(text, depth + 1);
      }
      // Not `for … in` for these two: it makes a text of each index before it gives the first.
      if (ArrayBuffer.isView(value)) this.#bytes += BYTES_OF_BYTE * value.byteLength;
      else if (Array.isArray(value)) this.#addItems(value, depth);
      else this.#addFields(value, depth);
    }
  }

  #addItems(items: readonly unknown[], depth: number): void {
    for (let index = 0; index < items.length && this.#bytes <= MAX_BYTES; index += 1) {
      this.#bytes += 2;
      this.#add(items[index], depth + 1);
    }
  }

  /** To collect the names of a million fields takes a quarter of the time in which JSON.parse makes them. */
  #addFields(fields: object, depth: number): void {
    for (const name in fields) {
      this.#bytes += bytesOf(name) + 2;
      if (this.#bytes > MAX_BYTES) return;
      this.#add((fields as Record<string, unknown>)[name], depth + 1);
    }
  }
}

function bytesOf(text: string): number {
  return text.length > MAX_BYTES ? text.length : Buffer.byteLength(JSON.stringify(text));
}

function cutFields(value: object): Record<string, unknown> {
  return Object.fromEntries(firstFields(value).map(([name, field]) => [cutText(name, 64), cutField(field)]));
}

/** The first fields of an object, without reading the others. */
function firstFields(value: object): [name: string, field: unknown][] {
  if (Array.isArray(value)) return Object.entries(value.slice(0, MAX_FIELDS));
  if (ArrayBuffer.isView(value)) return [];
  const names = Object.keys(value).slice(0, MAX_FIELDS);
  return names.map((name) => [name, (value as Record<string, unknown>)[name]]);
}

function cutField(value: unknown): unknown {
  if (typeof value === 'string') return cutText(value, MAX_TEXT);
  if (value instanceof Error) return cutError(value, true);
  if (typeof value !== 'object' || value === null) return value;
  return new Size().of(value) <= MAX_TEXT ? value : LEFT_OUT;
}

/** A copy of an error. Its cause is kept, but not that one's own. */
function cutError(error: Error, withCause: boolean): Error {
  const share = withCause ? 1 : 2;
  const { cause } = error;
  const options = withCause && cause instanceof Error ? { cause: cutError(cause, false) } : {};
  const copy = new Error(cutText(error.message, MAX_MESSAGE / share), options);
  const own = cutFields(Object.fromEntries(firstFields(error).map(([name, field]) => [name, shallow(field)])));
  const name = cutText(error.name, 64);
  return Object.assign(copy, own, { name, stack: cutText(error.stack ?? '', MAX_STACK / share) });
}

/** What an error knows beside its message may be a whole document, or another error. */
function shallow(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? LEFT_OUT : value;
}

/** Cuts a text to `maxBytes` bytes of JSON. */
function cutText(text: string, maxBytes: number): string {
  let cut = text.slice(0, maxBytes);
  while (bytesOf(cut) > maxBytes) cut = cut.slice(0, Math.floor(cut.length * 0.8));
  return cut.length === text.length ? text : `${cut.toWellFormed()}…`;
}
