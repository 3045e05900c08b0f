import type { Dispatcher } from 'undici';
import type { AnswerHeaders, Controller, RequestHandler } from './request-handler.js';

/** The answer headers that `Attempt` and `PooledRequest` read, by the length of their names. */
const NAME_BY_LENGTH: (string | undefined)[] = [];
for (const name of [
  'content-type',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'location',
  'retry-after',
  'set-cookie',
]) {
  NAME_BY_LENGTH[name.length] = name;
}

/**
 * Fast path: the method names that undici 7 itself calls. It wraps a handler with the current names, which costs each request
 * two more objects, and a third with all headers of the answer. undici 8 calls the current names and has no wrapper: remove
 * this file when it is used.
 */
export class DirectHandler implements Dispatcher.DispatchHandler, Controller {
  readonly #handler: RequestHandler;
  #abort: ((reason?: Error) => void) | undefined;
  #resume: (() => void) | undefined;
  #isPaused = false;

  constructor(handler: RequestHandler) {
    this.#handler = handler;
  }

  abort(reason: Error): void {
    const abort = this.#abort;
    this.#abort = undefined;
    abort?.(reason);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#resume?.();
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort;
    this.#handler.onRequestStart(this);
  }

  onHeaders(status: number, headers: Buffer[], resume: () => void): boolean {
    this.#resume = resume;
    this.#handler.onResponseStart(this, status, readHeaders(headers));
    return !this.#isPaused;
  }

  onData(chunk: Buffer): boolean {
    this.#handler.onResponseData(this, chunk);
    return !this.#isPaused;
  }

  onComplete(): void {
    this.#handler.onResponseEnd(this);
  }

  onError(error: Error): void {
    this.#handler.onResponseError(this, error);
  }
}

/** Reads the headers that matter from names and values in turn. A header that is sent several times becomes an array. */
function readHeaders(raw: readonly Buffer[]): AnswerHeaders {
  const headers: AnswerHeaders = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const bytes = raw[at] as Buffer;
    const name = NAME_BY_LENGTH[bytes.length];
    // Most other headers of such a length differ in the first letter. Upper and lower case differ in one bit.
    if (name === undefined || ((bytes[0] as number) | 0x20) !== name.charCodeAt(0)) continue;
    if (bytes.toString('latin1').toLowerCase() !== name) continue;
    const value = (raw[at + 1] as Buffer).toString('latin1');
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  return headers;
}
