import type { Dispatcher } from 'undici';
import type { AnswerHeaders, Controller, ResponseHandler } from './response-handler.js';

/** The headers of an answer that are read, by the length of their names. */
const NAMES: (string | undefined)[] = [];
for (const name of [
  'content-type',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'location',
  'retry-after',
  'set-cookie',
]) {
  NAMES[name.length] = name;
}

/**
 * The fast path of requests: undici 7 wraps a handler with the current method names, with two more objects for each request
 * and all headers of the answer in a third, which is a tenth of the cost of a JSON round trip. It calls the older names, which
 * are deprecated, directly. undici 8 has them no more: then this file is to be removed.
 */
export class DirectHandler implements Dispatcher.DispatchHandler, Controller {
  readonly #handler: ResponseHandler;
  #abort: ((reason?: Error) => void) | undefined;
  #resume: (() => void) | undefined;
  #isPaused = false;

  constructor(handler: ResponseHandler) {
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

/** Reads the headers that matter from names and values in turn. A header that is sent several times is an array. */
function readHeaders(raw: readonly Buffer[]): AnswerHeaders {
  const headers: AnswerHeaders = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const bytes = raw[at] as Buffer;
    const name = NAMES[bytes.length];
    // Nearly all other headers differ in the first letter. The bit is what upper and lower case differ in.
    if (name === undefined || ((bytes[0] as number) | 0x20) !== name.charCodeAt(0)) continue;
    if (bytes.toString('latin1').toLowerCase() !== name) continue;
    const value = (raw[at + 1] as Buffer).toString('latin1');
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  return headers;
}
