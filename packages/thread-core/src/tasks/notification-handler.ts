import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { ARC_VERSION, ErrorCode, type TaskNotification } from '@arc/thread-protocol';
import { type Logger, limitLogger, silentLogger } from '../logger.js';
import { ArcError, AuthenticationError, InternalError, MessageTooLargeError } from '../protocol/errors.js';
import { withTimeout } from '../timers.js';
import { type ReadNotification, readNotification } from './notification.js';
import { isSigned, SIGNATURE_HEADER } from './signature.js';

/** Options of `createNotificationHandler`. */
export interface NotificationHandlerOptions {
  /**
   * Called for each valid notification. If it throws or rejects, the answer is HTTP 500, and the agent may send the
   * notification again. If it returns `'unsubscribe'`, the answer is 410, which ends the agent's subscription.
   */
  onNotification(notification: TaskNotification): unknown;
  /**
   * Verifies that a notification comes from the agent: the secret that the agent signs with (several while secrets are
   * being changed), or a function. Default: anybody who knows the URL can post.
   */
  verify?: string | readonly string[] | ((request: NotificationRequest) => boolean | Promise<boolean>) | undefined;
  /** Milliseconds that `verify` and `onNotification` each may take; then the answer is HTTP 500. Default 10,000. */
  timeout?: number | undefined;
  /** Bytes of a notification at most. Default 1 MiB. */
  maxBodyBytes?: number | undefined;
  /** Default: nothing is logged. */
  logger?: Partial<Logger> | undefined;
}

/** What `verify` gets. */
export interface NotificationRequest {
  /** The text as it was posted. */
  body: string;
  headers: IncomingHttpHeaders;
}

/** The part of Koa's context that is used. */
interface KoaContext {
  req: IncomingMessage;
  request: object;
  status: number;
  body: unknown;
  set(name: string, value: string): void;
}

/** The part of Fastify's reply that is used. */
interface FastifyReply {
  code(status: number): FastifyReply;
  headers(headers: Record<string, string>): FastifyReply;
  send(body: string): unknown;
}

/** The part of a Fastify instance that is used. */
interface FastifyScope {
  removeAllContentTypeParsers(): unknown;
  addContentTypeParser(
    type: string,
    parser: (request: never, payload: never, done: (error: Error | null, body?: undefined) => void) => void,
  ): unknown;
  all(url: string, handler: (request: { raw: IncomingMessage }, reply: FastifyReply) => unknown): unknown;
}

/** A handler for the callback URL of `task.subscribe`, in the form that each framework takes. */
export interface NotificationHandler {
  /** For `http.createServer`, or any part of it that has chosen the URL. Resolves when the answer is written. */
  node(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** For `app.post(url, …)`. Mount it before `express.json()`, or have that keep `request.rawBody`. */
  express(request: IncomingMessage, response: ServerResponse): void;
  /** For `router.post(url, …)`. Mount it before a body parser, or after one that keeps `rawBody`. */
  koa(context: KoaContext): Promise<void>;
  /** A plugin: `app.register(handler.fastify, { url })`. It has its own scope, so that it gets the body unparsed. */
  fastify(scope: FastifyScope, options: { url: string }): Promise<void>;
}

interface Answer {
  status: number;
  body: object;
  headers?: Record<string, string>;
}

const DEFAULT_MAX_BODY_BYTES = 1024 * 1024;

/** As long as the Python SDK waits for an answer. */
const DEFAULT_TIMEOUT_MS = 10_000;

const STATUS = new Map<number, number>([
  [ErrorCode.ParseError, 400],
  [ErrorCode.InvalidRequest, 400],
  [ErrorCode.UnsupportedVersion, 400],
  [ErrorCode.AuthenticationFailed, 401],
  [ErrorCode.MessageTooLarge, 413],
]);

/**
 * Makes a handler for the notifications that `task.subscribe` asks an agent to post.
 * @throws TypeError that begins with the name of the option that is wrong
 */
export function createNotificationHandler(options: NotificationHandlerOptions): NotificationHandler {
  const core = new NotificationCore(options);
  const node = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, body, headers } = await core.answer(request, request);
    if (response.destroyed || response.headersSent) return;
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
  return {
    node,
    express: (request, response) => void node(request, response),
    async koa(context) {
      const { status, body, headers = {} } = await core.answer(context.req, context.request);
      context.status = status;
      for (const [name, value] of Object.entries(headers)) context.set(name, value);
      context.body = body;
    },
    async fastify(scope, { url }) {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
      scope.all(url, async ({ raw }, reply) => {
        const { status, body, headers } = await core.answer(raw, raw);
        return reply
          .code(status)
          .headers({ 'content-type': 'application/json', ...headers })
          .send(JSON.stringify(body));
      });
    },
  };
}

function areSecrets(secrets: readonly unknown[]): boolean {
  return secrets.length > 0 && secrets.every((secret) => typeof secret === 'string' && secret !== '');
}

/** What is the same for all frameworks: reads, verifies and answers one request. Never rejects. */
class NotificationCore {
  readonly #options: NotificationHandlerOptions;
  readonly #maxBodyBytes: number;
  readonly #logger: Logger;

  constructor(options: NotificationHandlerOptions) {
    const {
      onNotification,
      verify,
      timeout,
      maxBodyBytes = DEFAULT_MAX_BODY_BYTES,
      logger = silentLogger,
    } = Object(options) as NotificationHandlerOptions;
    if (typeof onNotification !== 'function') throw new TypeError('onNotification: must be a function');
    const isVerify = verify === undefined || typeof verify === 'function' || areSecrets([verify].flat());
    if (!isVerify) throw new TypeError('verify: must be a non-empty secret, a list of them, or a function');
    if (!(maxBodyBytes > 0)) throw new TypeError('maxBodyBytes: must be a number of at least 1');
    const isTimeout = timeout === undefined || (typeof timeout === 'number' && timeout > 0);
    if (!isTimeout) throw new TypeError('timeout: must be milliseconds, more than 0');
    this.#options = options;
    this.#maxBodyBytes = maxBodyBytes;
    this.#logger = limitLogger(logger);
  }

  /** `parsed` may have a body that the framework has read already. */
  async answer(request: IncomingMessage, parsed: object): Promise<Answer> {
    let read: ReadNotification | undefined;
    try {
      if (request.method !== 'POST') return { status: 405, body: { error: 'POST only' }, headers: { allow: 'POST' } };
      const body = await this.#readBody(request, parsed);
      await this.#verify({ body, headers: request.headers });
      read = readNotification(body);
      const { notification } = read;
      const result = await this.#withinTimeout(
        async () => this.#options.onNotification(notification),
        'onNotification',
      );
      if (result === 'unsubscribe') return { status: 410, body: { success: false } };
      return { status: 200, body: resultOf(read.request) };
    } catch (error) {
      return this.#answerError(error, read, request.complete === false);
    }
  }

  /** `isCutOff`: the sender has left. Anybody may do that: it is no fault, and must not fill the lines for those. */
  #answerError(err: unknown, read: ReadNotification | undefined, isCutOff: boolean): Answer {
    const isKnown = err instanceof ArcError && STATUS.has(err.code) && read === undefined;
    if (isCutOff) this.#logger.warn({ err }, 'a task notification broke off');
    else if (isKnown) this.#logger.warn({ err }, 'a task notification was rejected');
    else this.#logger.error({ err, taskId: read?.notification.taskId }, 'a task notification could not be handled');
    const error = isKnown ? err : new InternalError('Internal error');
    return { status: STATUS.get(error.code) ?? 500, body: errorOf(error, read?.request) };
  }

  /** @throws AuthenticationError if the agent cannot have sent it */
  async #verify(request: NotificationRequest): Promise<void> {
    const { verify } = this.#options;
    if (verify === undefined) return;
    const isRight =
      typeof verify === 'function'
        ? (await this.#withinTimeout(async () => verify(request), 'verify')) === true
        : isSigned(request.body, request.headers[SIGNATURE_HEADER], typeof verify === 'string' ? [verify] : verify);
    if (!isRight) throw new AuthenticationError('The notification has no valid signature');
  }

  /** @throws Error if the application's function takes too long */
  async #withinTimeout<T>(work: () => Promise<T>, name: string): Promise<T> {
    const { timeout = DEFAULT_TIMEOUT_MS } = this.#options;
    const settled = await withTimeout(
      work().then((value) => ({ value })),
      timeout,
    );
    if (settled === undefined) throw new Error(`${name} took longer than ${timeout} ms`);
    return settled.value;
  }

  async #readBody(request: IncomingMessage, parsed: object): Promise<string> {
    const { rawBody, body } = parsed as { rawBody?: unknown; body?: unknown };
    const kept = [rawBody, body].find((value) => typeof value === 'string' || Buffer.isBuffer(value));
    if (kept !== undefined) {
      if (Buffer.byteLength(kept as string) > this.#maxBodyBytes) throw this.#tooLarge();
      return String(kept);
    }
    if (request.readableEnded) {
      if (this.#options.verify === undefined && body !== undefined) return JSON.stringify(body);
      throw new Error('The body was parsed before: mount the handler before the body parser, or keep `rawBody`');
    }
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size <= this.#maxBodyBytes) chunks.push(chunk);
      // Up to four times the limit is read and dropped, so that the agent gets the answer and not a reset.
      else if (size > this.#maxBodyBytes * 4) break;
    }
    if (size > this.#maxBodyBytes) throw this.#tooLarge();
    return Buffer.concat(chunks).toString();
  }

  #tooLarge(): MessageTooLargeError {
    return new MessageTooLargeError(`The notification has more than ${this.#maxBodyBytes} bytes`);
  }
}

/** An ARC request is answered with an envelope, a notification without one with the result alone. */
function resultOf(request: ReadNotification['request']): object {
  const result = { success: true };
  return request === undefined ? result : { ...envelopeOf(request), result, error: null };
}

function errorOf(error: ArcError, request: ReadNotification['request']): object {
  const known = request ?? { id: 'error', requestAgent: 'unknown', targetAgent: 'unknown', traceId: undefined };
  return { ...envelopeOf(known), result: null, error: error.toJSON() };
}

function envelopeOf({ id, requestAgent, targetAgent, traceId }: NonNullable<ReadNotification['request']>): object {
  return {
    arc: ARC_VERSION,
    id,
    responseAgent: targetAgent,
    targetAgent: requestAgent,
    ...(traceId ? { traceId } : {}),
  };
}
