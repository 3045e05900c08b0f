import { ARC_VERSION, type ArcEnvelope, type ArcMethod } from '@arc/thread-protocol';
import { errors } from 'undici';
import { type Bytes, decode, encode, readBytes } from '../bytes.js';
import type { Logger } from '../logger.js';
import {
  AgentNotFoundError,
  AgentTimeoutError,
  AgentUnreachableError,
  type ArcError,
  type ArcErrorOptions,
  AuthenticationError,
  InternalError,
  InvalidRequestError,
  MessageTooLargeError,
  readAgentError,
  StreamInterruptedError,
  TokenExpiredError,
  TokenInvalidError,
} from '../protocol/errors.js';
import { hasLoneSurrogate, quote } from '../values.js';
import type { Breaker } from './breaker.js';

import type { Deadlines, Timed } from './deadlines.js';
import type { StreamEvent } from './event.js';
import { EventReader, type EventReaderOwner } from './event-reader.js';
import { type AnswerHeaders, type Controller, isEventStream, type RequestHandler } from './pooled-request.js';
import { LONGEST_WAIT, pauseBefore, readRetryAfter } from './retry.js';
import type { Target, Targets } from './target.js';
import type { TokenSource } from './token.js';
import { describeTransportError, isOfEndpoint, isPassing, wasNeverSent } from './transport-error.js';

/**
 * Hears the answer of a call. It ends with exactly one of: a response, an event named `done` or `error`, a failure.
 * Other events may come before `done`, `error` and a failure. Nothing is told from within the call that starts it.
 */
export interface CallListener {
  /**
   * The whole answer: the agent's own text, and the envelope with a result that it was parsed to.
   */
  onResponse(text: Bytes, envelope: ArcEnvelope): void;
  onEvent(event: StreamEvent): void;
  /** An ARC error in an envelope, or whatever kept the answer from coming. */
  onError(error: unknown): void;
}

/** What is asked of an agent. */
export interface CallRequest {
  method: ArcMethod;
  targetAgent: string;
  params: Record<string, unknown>;
  traceId?: string | undefined;
  /** Milliseconds to the first byte of a stream, or to the end of any other answer; 0: for ever. */
  timeout?: number | undefined;
  /** Milliseconds between two chunks of a stream; 0: for ever. */
  streamIdleTimeout?: number | undefined;
  /** Milliseconds from a stream's first byte to its last event; 0: for ever. */
  streamTimeout?: number | undefined;
  /** How often it is sent again where it did not reach the agent. */
  retries?: number | undefined;
}

/**
 * On whose behalf calls are made: one object for each session, by whose identity the pool and the breaker tell sessions
 * apart. Calls without an owner are the application's own.
 */
export interface CallOwner {
  /** Tokens of this owner, in place of the client's. */
  readonly tokens?: TokenSource | undefined;
}

/** What a call needs of the client that makes it. */
export interface CallContext {
  readonly targets: Targets;
  readonly tokens: TokenSource;
  /** As JSON. */
  readonly requestAgent: string;
  readonly timeout: number;
  readonly streamIdleTimeout: number;
  readonly streamTimeout: number;
  readonly retries: number;
  readonly maxResponseBytes: number;
  readonly maxEventBytes: number;
  readonly logger: Logger;
  nextRequestId(): string;
  headers(token: string | undefined): string[];
  readonly deadlines: Deadlines<Call>;
}

/** HTTP statuses with which a proxy, or the endpoint itself, says that the agent cannot be reached. */
const GATEWAY_FAILURES = new Set([502, 503, 504]);

/** What a text may begin with that is no part of it. */
const BOM = encode('\ufeff');

const MAX_REDIRECTS = 3;
const MAX_REDIRECT_BYTES = 16_384;

/** After `done` the agent has this long, in milliseconds, to end its answer, so that the connection can be used again. */
const LINGER = 1000;

/** One request and its answer, over as many HTTP exchanges as redirects and a token's renewal take. */
export class Call implements RequestHandler, EventReaderOwner, Timed {
  /** @internal */
  place = -1;
  /** When it runs out. @internal */
  deadline = Number.POSITIVE_INFINITY;
  readonly #context: CallContext;
  readonly #request: CallRequest;
  readonly #listener: CallListener;
  readonly #owner: CallOwner | undefined;
  #target: Target | undefined;
  #body = '';
  #token: string | undefined;
  /** The caller does not know the call yet, so its listener is told nothing. */
  #isStarting = true;
  #waitsForToken = false;
  #refreshed = false;
  #redirects = 0;
  #retries = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  /** Where a redirect leads, while its own body is read to the end. */
  #next: Target | undefined;

  #controller: Controller | undefined;
  /** When the whole of a stream runs out. */
  #streamEnd = Number.POSITIVE_INFINITY;
  /** The listener has heard the end, or wants to hear no more. */
  #ended = false;
  #paused = false;
  #wasSent = false;

  #status = 0;
  #contentType = '';
  /** The agent asks to be asked again in so many milliseconds. */
  #retryAfter: number | undefined;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Where the answer is a stream. */
  #reader: EventReader | undefined;
  #events = 0;

  constructor(context: CallContext, request: CallRequest, listener: CallListener, owner: CallOwner | undefined) {
    this.#context = context;
    this.#request = request;
    this.#listener = listener;
    this.#owner = owner;
    context.deadlines.add(this);
    this.#watch();
    this.#start();
  }

  #start(): void {
    try {
      this.#target = this.#find();
      this.#body = this.#write();
      const token = this.#tokens().get();
      if (typeof token === 'object') this.#sendWith(token);
      else if (this.#context.targets.areOwn) this.#send(token);
      // Later, because other dispatchers (a MockAgent, for one) may answer before `dispatch` returns.
      else queueMicrotask(() => this.#run(() => this.#send(token)));
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isStarting = false;
    }
  }

  /** Abandons the call: the connection is closed, and the listener hears nothing more. */
  cancel(): void {
    this.#end();
    this.#controller?.abort(new Error('The call was cancelled'));
  }

  /** Fails the call, because its client is closed. One that has ended waits for its agent no longer. */
  abandon(): void {
    if (this.#ended) this.cancel();
    this.#fail(new AgentUnreachableError('The client was closed', this.about()));
  }

  /** Stops reading the answer until `resume`. Meanwhile no time-out runs, but for that of a whole stream. */
  pause(): void {
    if (this.#paused || this.#ended) return;
    this.#paused = true;
    this.#controller?.pause();
    this.#watch();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (!this.#ended) this.#watch();
    // Later, because undici fails where it is resumed from within what it tells of another call.
    queueMicrotask(() => {
      if (!this.#paused) this.#run(() => this.#controller?.resume());
    });
  }

  /** What an error of this call is about. */
  about(cause?: unknown): ArcErrorOptions {
    return { ...this.#asked(cause), status: this.#status || undefined, address: this.#target?.address };
  }

  #asked(cause?: unknown): ArcErrorOptions {
    const { targetAgent: agentId, method, traceId } = this.#request;
    return { cause, agentId, method, traceId };
  }

  get #timeout(): number {
    return this.#request.timeout ?? this.#context.timeout;
  }

  get #streamIdleTimeout(): number {
    return this.#request.streamIdleTimeout ?? this.#context.streamIdleTimeout;
  }

  get #streamTimeout(): number {
    return this.#request.streamTimeout ?? this.#context.streamTimeout;
  }

  #tokens(): TokenSource {
    return this.#owner?.tokens ?? this.#context.tokens;
  }

  #find(): Target {
    const { targets } = this.#context;
    const { targetAgent } = this.#request;
    if (targets.closed) {
      throw new AgentUnreachableError('The client was closed', this.#asked(new errors.ClientDestroyedError()));
    }
    const target = targets.of(targetAgent);
    if (target === undefined) throw new AgentNotFoundError(`No endpoint for agent "${targetAgent}"`, this.#asked());
    return target;
  }

  #write(): string {
    const { method, targetAgent, traceId, params } = this.#request;
    const { requestAgent } = this.#context;
    const id = this.#context.nextRequestId();
    const trace = traceId ? `,"traceId":${quote(traceId)}` : '';
    let text: string;
    try {
      // Piece by piece, because most of them are known to need no escapes.
      text = `{"arc":"${ARC_VERSION}","id":"${id}","method":"${method}","requestAgent":${requestAgent},"targetAgent":${quote(targetAgent)}${trace},"params":${JSON.stringify(params)}}`;
    } catch (cause) {
      // Nested too deeply, circular, or a BigInt.
      throw new InvalidRequestError(`${method} cannot be written as JSON`, this.#asked(cause));
    }
    // Some agents answer it with a bare 500, or not at all.
    if (hasLoneSurrogate(text)) throw new InvalidRequestError(`${method}: must be well-formed Unicode`, this.#asked());
    return text;
  }

  /** Starts the time-out anew: of a stream, between two chunks; of any other answer, until it is complete. */
  #watch(): void {
    const delay = this.#reader === undefined ? this.#timeout : this.#streamIdleTimeout;
    const end = delay > 0 && !this.#paused ? performance.now() + delay : Number.POSITIVE_INFINITY;
    this.deadline = Math.min(end, this.#streamEnd);
    this.#context.deadlines.note(this.deadline);
  }

  #sendWith(token: Promise<string>, goesOn = false): void {
    this.#waitsForToken = true;
    token.then(
      (value) => {
        this.#waitsForToken = false;
        this.#run(() => this.#send(value, goesOn));
      },
      (cause: unknown) => {
        this.#fail(new AuthenticationError('No token for the agent could be had', this.#asked(cause)));
      },
    );
  }

  /** `goesOn`: after an answer, be it a redirect or a refused token, which is no new question to the endpoint. */
  #send(token: string | undefined, goesOn = false): void {
    if (this.#ended) return;
    this.#token = token;
    const target = this.#target as Target;
    if (target.breaker.isOpen && !goesOn && !target.breaker.takesProbe(this.#owner))
      return this.#refuse(target.breaker);
    try {
      this.#context.targets.post(target, this.#context.headers(token), this.#body, this, this.#owner);
    } catch (error) {
      this.onResponseError(undefined, error);
    }
  }

  /** The endpoint failed too often to be asked now. */
  #refuse({ failures, pauseLeft }: Breaker): void {
    const pause = `is not asked again for ${Math.ceil(pauseLeft)} ms`;
    const cause = Object.assign(new Error('The circuit is open'), { code: 'ERR_CIRCUIT_OPEN' });
    const reason = `${this.#agent()} ${pause}: its endpoint failed ${failures} times in a row`;
    this.#fail(new AgentUnreachableError(reason, this.about(cause)));
  }

  /** Drops what came of this exchange; whatever it still tells is not listened to. */
  #again(): void {
    const controller = this.#controller;
    const reader = this.#reader;
    this.#controller = undefined;
    this.#reader = undefined;
    reader?.stop();
    controller?.abort(new Error('The answer is asked for again'));
    this.#status = 0;
    this.#chunks = [];
    this.#size = 0;
    if (reader === undefined) return;
    this.#streamEnd = Number.POSITIVE_INFINITY;
    this.#watch();
  }

  /** Sends again what surely did not reach the agent, where there is time: after a pause, and what the agent asks for. */
  #retry(after = 0): boolean {
    const left = this.deadline === Number.POSITIVE_INFINITY ? LONGEST_WAIT : this.deadline - performance.now();
    const pause = after + pauseBefore(this.#retries);
    const most = this.#request.retries ?? this.#context.retries;
    if (this.#retries >= most || pause >= left || this.#target?.breaker.isOpen) return false;
    this.#retries += 1;
    this.#again();
    this.#retryTimer = setTimeout(onRetry, pause, this);
    return true;
  }

  /** @internal Called by the timer. */
  sendAgain(): void {
    this.#run(() => this.#send(this.#token));
  }

  /** Asks for a newer token and sends again: once, and only where a function gives tokens. */
  #renewToken(): boolean {
    if (this.#refreshed) return false;
    const token = this.#tokens().refresh(this.#token);
    if (token === undefined) return false;
    this.#refreshed = true;
    this.#again();
    this.#sendWith(Promise.resolve(token), true);
    return true;
  }

  onRequestStart(controller: Controller): void {
    // Cancelled while it waited for a connection. An abort would close that; whoever waits behind can have it.
    if (this.#ended) throw new Error('The call was cancelled');
    this.#controller = controller;
    this.#wasSent = true;
  }

  /** Nothing is to come of it any more: a connection for it would be for nothing. */
  get isSettled(): boolean {
    return this.#ended;
  }

  /** Whether anything of the request may have reached the agent. */
  get wasSent(): boolean {
    return this.#wasSent;
  }

  onResponseStart(controller: Controller, status: number, headers: AnswerHeaders): void {
    if (status < 200 || controller !== this.#controller || this.#ended) return;
    this.#run(() => this.#readHead(controller, status, headers));
  }

  #readHead(controller: Controller, status: number, headers: AnswerHeaders): void {
    this.#status = status;
    this.#contentType = String(headers['content-type'] ?? '');
    this.#retryAfter = status === 429 || status === 503 ? readRetryAfter(headers['retry-after']) : undefined;
    if (status === 307 || status === 308) {
      this.#redirect(String(headers.location ?? ''));
    } else if (isEventStream(this.#contentType)) {
      const { events } = this.#target as Target;
      this.#reader = new EventReader(this, this.#context.maxEventBytes, events, this.#request.params.chatId);
      const total = this.#streamTimeout;
      if (total > 0) this.#streamEnd = performance.now() + total;
      this.#watch();
    } else if (Number(headers['content-length'] ?? 0) > this.#context.maxResponseBytes) {
      this.#tooLarge('answer', this.#context.maxResponseBytes);
    }
    if (this.#paused && controller === this.#controller) controller.pause();
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (controller !== this.#controller || this.#ended) return;
    try {
      this.#readChunk(chunk);
    } catch (error) {
      this.#crash(error);
    }
  }

  #readChunk(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#next !== undefined) {
      if (this.#size > MAX_REDIRECT_BYTES) this.#follow(this.#next);
    } else if (
      this.#size > this.#context.maxResponseBytes &&
      !(this.#reader !== undefined && this.#request.params.stream === true)
    ) {
      this.#tooLarge('answer', this.#context.maxResponseBytes);
    } else if (this.#reader !== undefined) {
      this.#watch();
      this.#reader.read(chunk);
    } else {
      this.#chunks.push(chunk);
    }
  }

  onResponseEnd(controller: Controller): void {
    if (controller !== this.#controller) return;
    this.#controller = undefined;
    try {
      this.#endAnswer();
    } catch (error) {
      this.#crash(error);
    }
  }

  #endAnswer(): void {
    if (this.#ended) this.#context.deadlines.delete(this);
    else if (this.#next !== undefined) this.#follow(this.#next);
    else if (this.#reader !== undefined) this.#endStream(this.#reader);
    else this.#readBody();
  }

  onResponseError(controller: Controller | null | undefined, error: unknown): void {
    if (controller && controller !== this.#controller) return;
    this.#run(() => this.#lose(error));
  }

  /** The exchange failed: without a controller before anything was written. */
  #lose(error: unknown): void {
    // undici tells of a request before it writes its first byte.
    const wasWritten = this.#controller !== undefined;
    this.#controller = undefined;
    // Whoever waits no longer for a connection did so for nothing, where there is none to be had.
    const isFailure = this.#ended ? !wasWritten && wasNeverSent(error) : this.#reader === undefined;
    if (isFailure && isOfEndpoint(error)) this.#target?.breaker.failed(this.#owner);
    if (this.#ended) return this.#context.deadlines.delete(this);
    if (!wasWritten && isPassing(error) && this.#retry()) return;
    const reason = describeTransportError(error);
    const about = this.about(error);
    if (this.#reader !== undefined) this.#fail(new StreamInterruptedError(`The stream broke off: ${reason}`, about));
    else if (this.#size > 0) this.#fail(new AgentUnreachableError(`The answer broke off: ${reason}`, about));
    else this.#fail(new AgentUnreachableError(`${this.#agent()} is unreachable: ${reason}`, about));
  }

  #redirect(location: string): void {
    const target = this.#target as Target;
    const from = new URL(target.path, target.origin);
    const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
    if (location === '' || to === undefined) return this.#notArc('a redirect to nowhere');
    // A token is never sent to another origin, whoever says so.
    if (to.origin !== target.origin) return this.#notArc('a redirect to another origin, which is not followed');
    if (++this.#redirects > MAX_REDIRECTS) return this.#notArc('one redirect after another');
    this.#next = { ...target, path: to.pathname + to.search, address: to.origin + to.pathname };
  }

  /** Goes where a redirect leads. A short body of it has been read to its end, which leaves the connection fit for use. */
  #follow(next: Target): void {
    this.#next = undefined;
    this.#target = next;
    this.#again();
    this.#send(this.#token, true);
  }

  /** @internal Called by the reader. */
  onLongEvent(): void {
    this.#tooLarge('event', this.#context.maxEventBytes);
  }

  /** @internal Called by the reader. */
  onStreamEvent(event: StreamEvent): void {
    if (this.#ended || (this.#events === 0 && !this.#isAnswered(event))) return;
    this.#events += 1;
    if (event.event !== 'done' && event.event !== 'error') return this.#listener.onEvent(event);
    this.#end();
    // The agent may still have something to say, such as `done` after `error`, before it ends its answer.
    if (this.#controller !== undefined) this.#linger();
    this.resume();
    this.#listener.onEvent(event);
  }

  /** Whether a stream's first event is one of an answer, and not of a refused token for which there is a newer one. */
  #isAnswered(event: StreamEvent): boolean {
    this.#target?.breaker.answered();
    if (event.event === 'error') {
      const isRefused = this.#status === 401 || isTokenRefused(readAgentError(event.data, {}));
      if (isRefused && this.#renewToken()) return false;
    }
    // It is not sent again now, and a stream may be long.
    this.#body = '';
    return true;
  }

  #endStream(reader: EventReader): void {
    reader.end();
    // Unless its last event was a refused token's, and the answer is asked for again.
    if (this.#reader === reader) this.#fail(new StreamInterruptedError('The stream ended without done', this.about()));
  }

  #readBody(): void {
    const body = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [];
    let text = readBytes(body);
    if (text.startsWith(BOM)) text = text.slice(BOM.length) as Bytes;
    const { breaker } = this.#target as Target;
    const envelope = parseEnvelope(decode(text));
    if (envelope !== undefined) breaker.answered();
    else if (GATEWAY_FAILURES.has(this.#status)) breaker.failed(this.#owner);
    const error = envelope?.error == null ? undefined : readAgentError(envelope.error, this.about());
    if ((this.#status === 401 || (error !== undefined && isTokenRefused(error))) && this.#renewToken()) return;
    const isAnswered = error === undefined && envelope?.result != null;
    if (!isAnswered && this.#retryAfter !== undefined && this.#retry(this.#retryAfter)) return;
    if (envelope === undefined) {
      return this.#notArc(body.length === 0 ? 'an empty answer' : this.#contentType || 'no content type');
    }
    if (error !== undefined) return this.#fail(error);
    if (!isAnswered) return this.#notArc('neither result nor error');
    this.#end();
    this.#listener.onResponse(text, envelope);
  }

  #notArc(what: string): void {
    this.#fail(
      new AgentUnreachableError(`${this.#agent()} gave no ARC answer: HTTP ${this.#status}, ${what}`, this.about()),
    );
  }

  #tooLarge(what: string, bytes: number): void {
    this.#fail(new MessageTooLargeError(`${this.#agent()} sent an ${what} of more than ${bytes} bytes`, this.about()));
  }

  /** @internal Called by the timer. */
  timeOut(): void {
    this.#run(() => this.#onTimeout());
  }

  #onTimeout(): void {
    if (this.#ended) return this.cancel();
    const about = this.about();
    if (this.deadline === this.#streamEnd) {
      const reason = `The stream took too long: it was not complete after ${this.#streamTimeout} ms in all`;
      this.#fail(new StreamInterruptedError(reason, about));
    } else if (this.#reader !== undefined) {
      const reason = `The stream stalled: nothing came for ${this.#streamIdleTimeout} ms`;
      this.#fail(new StreamInterruptedError(reason, about));
    } else if (this.#waitsForToken) {
      this.#fail(new AuthenticationError(`No token for the agent came within ${this.#timeout} ms`, this.#asked()));
    } else {
      // One that still waits for a connection says nothing of the endpoint.
      if (this.#controller !== undefined) this.#target?.breaker.failed(this.#owner);
      this.#fail(new AgentTimeoutError(`${this.#agent()} did not answer within ${this.#timeout} ms`, about));
    }
  }

  #agent(): string {
    return `Agent "${this.#request.targetAgent}"`;
  }

  #end(): void {
    this.#ended = true;
    clearTimeout(this.#retryTimer);
    this.#context.deadlines.delete(this);
  }

  /** It has ended, and waits for the agent to say so. */
  #linger(): void {
    this.deadline = performance.now() + LINGER;
    this.#context.deadlines.add(this);
    this.#context.deadlines.note(this.deadline);
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    if (this.#isStarting) return queueMicrotask(() => this.#fail(error));
    this.#end();
    const controller = this.#controller;
    this.#controller = undefined;
    controller?.abort(error instanceof Error ? error : new Error(String(error)));
    try {
      this.#listener.onError(error);
    } catch (err) {
      this.#log(err, 'a listener threw when it was told of a failure');
    }
  }

  /** Runs what a callback of undici, a timer or a promise does. What it throws ends this call, and no other. */
  #run(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#crash(error);
    }
  }

  /** A defect of this side, or a listener that throws: the agent is not to blame, and other calls go on. */
  #crash(err: unknown): void {
    if (this.#ended) return this.#log(err, 'a listener threw when it was told of the end');
    this.#fail(new InternalError('The answer could not be processed', this.about(err)));
  }

  #log(err: unknown, message: string): void {
    const { targetAgent: agentId, method, traceId } = this.#request;
    try {
      this.#context.logger.error({ err, agentId, method, traceId }, message);
    } catch {
      // The logger is the application's own, and there is nobody else to tell.
    }
  }
}

function onRetry(call: Call): void {
  call.sendAgain();
}

function isTokenRefused(error: ArcError): boolean {
  return error.code === TokenExpiredError.code || error.code === TokenInvalidError.code;
}

function parseEnvelope(text: string): ArcEnvelope | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isEnvelope = typeof value === 'object' && value !== null && 'arc' in value && typeof value.arc === 'string';
    return isEnvelope ? (value as ArcEnvelope) : undefined;
  } catch {
    return undefined;
  }
}
