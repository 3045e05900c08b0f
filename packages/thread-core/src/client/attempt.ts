import type { AttemptLimits, AttemptOwner } from './attempt-owner.js';
import { canDecode, readContentEncoding } from './content-decoder.js';
import { DecodedBody, type DecodedBodyOwner } from './decoded-body.js';
import type { Endpoint } from './endpoint.js';
import type { StreamEvent } from './event.js';
import { type AnswerHeaders, type Controller, isEventStream, type RequestHandler } from './pooled-request.js';
import { readRetryAfter } from './retry.js';
import { SseReader, type SseReaderOwner } from './sse-reader.js';
import { NotOwnerError } from './transport-error.js';

const MAX_REDIRECT_BYTES = 16_384;

/** With so many chunks of an answer they are joined: an agent may send each byte in one, whose object takes a hundred. */
const MAX_CHUNKS = 1024;

/**
 * Events of one chunk that are passed on after `pause`: a short answer is complete then, and its connection free. More have to
 * wait, because a frame can be hundreds of times as long as its event.
 */
const MAX_LATE = 256;

/** Stands in place of an array that is still empty. */
const NONE: StreamEvent[] = [];

/** One HTTP request and its answer. */
export class Attempt implements RequestHandler, SseReaderOwner, DecodedBodyOwner {
  readonly endpoint: Endpoint;
  readonly token: string | undefined;
  /** The owner is not called any more. */
  isSettled = false;
  runInSpan: RequestHandler['runInSpan'];
  /** There was a connection, and undici has begun to write. */
  wasWritten = false;
  /** Whether a part of the body has arrived. */
  hasBody = false;
  events = 0;
  status = 0;
  contentType = '';
  /** Milliseconds that the answer's `Retry-After` asks for. */
  retryAfter: number | undefined;
  /** When the stream as a whole times out. */
  streamDeadline = Number.POSITIVE_INFINITY;
  readonly #owner: AttemptOwner;
  readonly #limits: AttemptLimits;
  /** A stream that was requested is limited by the size of each event, any other answer by its whole size. */
  readonly #wantsStream: boolean;
  #controller: Controller | undefined;
  #isPaused: boolean;
  /** Events since `pause`, of the chunk that was being read, and those of them that wait for `resume`. */
  #late = 0;
  #held = NONE;
  #redirect: Endpoint | undefined;
  #reader: SseReader | undefined;
  /** The answer has a length or is chunked. Otherwise a complete body looks the same as one that was cut. */
  #isFramed = false;
  /** Of a compressed answer. */
  #decoded: DecodedBody | undefined;
  #size = 0;
  #chunks: Buffer[] = [];
  /** How many of them, from the first on, were joined from others. */
  #joined = 0;

  constructor(
    owner: AttemptOwner,
    endpoint: Endpoint,
    token: string | undefined,
    limits: AttemptLimits,
    wantsStream: boolean,
    isPaused: boolean,
  ) {
    this.#owner = owner;
    this.endpoint = endpoint;
    this.token = token;
    this.#limits = limits;
    this.#wantsStream = wantsStream;
    this.#isPaused = isPaused;
  }

  get isStream(): boolean {
    return this.#reader !== undefined;
  }

  /** It has its connection, and the answer is not complete. */
  get hasConnection(): boolean {
    return this.#controller !== undefined;
  }

  get hadNonFinite(): boolean {
    return this.#reader?.hadNonFinite === true;
  }

  pause(): void {
    this.#isPaused = true;
    this.#late = 0;
    this.#controller?.pause();
    this.#decoded?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    // Later, because undici fails if it is resumed from within a callback of another request.
    queueMicrotask(() => {
      if (!this.#isPaused) this.#run(() => this.#flow());
    });
  }

  /** Closes the connection. The owner is not called any more. */
  abort(reason: Error): void {
    const controller = this.#controller;
    this.#controller = undefined;
    this.#settle();
    controller?.abort(reason);
  }

  /** Only calls `onDrained` from now on. The rest of the answer is read so that the connection can be used again. */
  drain(): void {
    this.#settle();
    // A decoder may have paused the connection, too.
    if (this.#isPaused || this.#decoded?.hasBegun) this.resume();
  }

  onRequestStart(controller: Controller): void {
    // Cancelled while it waited. To abort would close the connection; to throw leaves it to the next request.
    if (this.isSettled) throw new Error('The call was cancelled');
    if (!this.#owner.mayWrite) throw new NotOwnerError();
    this.#controller = controller;
    this.wasWritten = true;
  }

  onResponseStart(controller: Controller, status: number, headers: AnswerHeaders): void {
    if (status < 200 || this.isSettled) return;
    this.#run(() => this.#start(status, headers));
    if (this.#isPaused && !this.isSettled) controller.pause();
  }

  onResponseData(_controller: Controller, chunk: Buffer): void {
    if (this.isSettled) return;
    try {
      this.hasBody = true;
      if (this.#reader !== undefined) this.#owner.onProgress();
      if (this.#decoded === undefined) this.#take(chunk);
      else this.#decode(this.#decoded, chunk);
    } catch (error) {
      this.#owner.onFault(error);
    }
  }

  onResponseEnd(): void {
    this.#controller = undefined;
    if (this.isSettled) this.#owner.onDrained();
    else if (this.#decoded?.hasBegun) this.#decoded.end();
    else this.#run(() => this.#end());
  }

  onResponseError(_controller: Controller | null | undefined, error: unknown): void {
    this.#controller = undefined;
    if (this.isSettled) {
      if (!this.wasWritten) this.#owner.onConnectFailure(error);
      return this.#owner.onDrained();
    }
    const fail = (): void => {
      this.#deliverHeld(true);
      this.#run(() => this.#owner.onConnectionError(error));
    };
    // Data that arrived before the connection was lost is decoded and delivered first.
    if (this.#decoded?.hasBegun) this.#decoded.endWith(fail);
    else fail();
  }

  onStreamEvent(event: StreamEvent): void {
    if (this.isSettled) return;
    if (this.#isPaused && ++this.#late > MAX_LATE) return this.#hold(event);
    this.events += 1;
    this.#owner.onStreamEvent(event);
  }

  #hold(event: StreamEvent): void {
    if (this.#held === NONE) this.#held = [];
    this.#held.push(event);
  }

  /** Stops if it is paused again, unless `all` are to be delivered. */
  #deliverHeld(all = false): void {
    const held = this.#held;
    this.#held = NONE;
    if (all) this.#isPaused = false;
    for (const [index, event] of held.entries()) {
      if (this.#isPaused) {
        this.#held = held.slice(index);
        return;
      }
      this.#run(() => this.onStreamEvent(event));
    }
  }

  onLongEvent(): void {
    this.#owner.onTooLarge('event', this.#limits.maxEventBytes);
  }

  #start(status: number, headers: AnswerHeaders): void {
    this.status = status;
    this.contentType = String(headers['content-type'] ?? '');
    this.retryAfter = status === 429 || status === 503 ? readRetryAfter(headers['retry-after']) : undefined;
    const setCookie = headers['set-cookie'];
    if (setCookie !== undefined && this.#owner.keepsCookies) this.#owner.onCookies(setCookie, this.endpoint);
    if (status === 307 || status === 308) {
      this.#redirect = this.#owner.onRedirect(String(headers.location ?? ''));
      return;
    }
    const encoding = readContentEncoding(headers['content-encoding']);
    if (encoding !== '') this.#decoded = new DecodedBody(this, encoding);
    if (encoding !== '' && !canDecode(encoding)) {
      this.#owner.onUndecodable(`its content encoding is ${encoding}, which is not known here`);
    } else if (isEventStream(this.contentType)) {
      this.#isFramed = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
      this.#reader = new SseReader(this, this.#limits.maxEventBytes);
      this.#owner.onStreamStart();
    } else if (Number(headers['content-length'] ?? 0) > this.#limits.maxResponseBytes) {
      this.#owner.onTooLarge('answer', this.#limits.maxResponseBytes);
    }
  }

  /** Takes a chunk of the answer after decompression. */
  #take(chunk: Buffer): void {
    this.#size += chunk.length;
    const isLimitedByEvent = this.#reader !== undefined && this.#wantsStream;
    if (this.#redirect !== undefined) {
      if (this.#size > MAX_REDIRECT_BYTES) this.#owner.onRedirectEnd(this.#redirect);
    } else if (this.#size > this.#limits.maxResponseBytes && !isLimitedByEvent) {
      this.#owner.onTooLarge('answer', this.#limits.maxResponseBytes);
    } else if (this.#reader !== undefined) {
      this.#reader.read(chunk);
    } else {
      this.#chunks.push(chunk);
      if (this.#chunks.length - this.#joined === MAX_CHUNKS) this.#join();
    }
  }

  #join(): void {
    this.#joined = this.#chunks.push(Buffer.concat(this.#chunks.splice(this.#joined)));
  }

  #end(): void {
    if (this.#redirect !== undefined) {
      this.#owner.onRedirectEnd(this.#redirect);
    } else if (this.#reader !== undefined) {
      this.#deliverHeld(true);
      this.#reader.end();
      if (!this.isSettled) this.#owner.onStreamEnd(this.#isFramed && !this.#reader.endedInEvent);
    } else {
      const body = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      this.#chunks = [];
      this.#owner.onBody(body);
    }
  }

  #decode(decoded: DecodedBody, chunk: Buffer): void {
    if (decoded.write(chunk, this.#isPaused)) return;
    const controller = this.#controller;
    controller?.pause();
    decoded.whenDrained(() => {
      if (!this.#isPaused && controller === this.#controller) controller?.resume();
    });
  }

  onDecoded(chunk: Buffer): void {
    if (!this.isSettled) this.#run(() => this.#take(chunk));
  }

  onDecodedEnd(): void {
    if (!this.isSettled) this.#run(() => this.#end());
  }

  onDecodeError(encoding: string): void {
    if (!this.isSettled) this.#run(() => this.#owner.onUndecodable(`its ${encoding} encoding is broken`));
  }

  #flow(): void {
    this.#deliverHeld();
    if (this.#isPaused) return;
    this.#decoded?.resume();
    this.#controller?.resume();
  }

  #settle(): void {
    this.isSettled = true;
    this.#reader?.stop();
    this.#chunks = [];
    this.#held = NONE;
    this.#decoded?.destroy();
  }

  #run(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#owner.onFault(error);
    }
  }
}
