import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { ARC_CONTENT_TYPE, ARC_VERSION } from '@arc/thread-protocol';
import { type ArcError, MessageTooLargeError } from '../protocol/errors.js';

/** How the bytes of an answer are put on the wire. Works with every kind of answer, and alike for JSON and streams. */
export interface Delivery {
  /** Added to the answer's headers, or in their place. */
  headers?: Record<string, string>;
  /** The body leaves in chunks of this many bytes, one at a time. Default: as it comes. */
  chunkBytes?: number;
  /** This many bytes of the body are sent, then comes `finish`. With 0 not even the headers are. Default: all. */
  after?: number;
  /**
   * What comes after the body: `end` properly; `stall`: nothing more, until the client closes; `cut`: the
   * connection is closed without the answer's end; `reset`: it is reset (RST). Default `end`.
   */
  finish?: 'end' | 'stall' | 'cut' | 'reset';
}

const STATUS = new Map([
  [-32_700, 400],
  [-32_600, 400],
  [-32_601, 404],
  [-32_602, 400],
  [-41_001, 404],
  [-42_001, 404],
  [-42_003, 409],
  [-43_001, 404],
  [-43_002, 409],
  [-44_001, 401],
  [-45_001, 400],
  [-45_004, 413],
]);

/** How many times the limit is read of a body that is too large, so that the client gets the error and not a reset. */
const DISCARDED = 16;

/** One request and its answer. @internal */
export class Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Aborts when the client has disconnected, or the server is closed. */
  readonly signal: AbortSignal;
  delivery: Delivery = {};
  body = '';
  /** The parsed body; an empty object if it is not a JSON object. */
  request: Record<string, unknown> = {};
  #head: [number, OutgoingHttpHeaders] = [200, {}];
  #raw = false;
  #sent = 0;
  #over = false;
  readonly #controller = new AbortController();

  constructor(req: IncomingMessage, res: ServerResponse, ignoreAbort: boolean, aborted: () => void) {
    this.req = req;
    this.res = res;
    this.signal = this.#controller.signal;
    res.once('close', () => {
      if (this.#over) return;
      if (!ignoreAbort) this.cancel();
      aborted();
    });
  }

  /** Gives the request up. */
  cancel(): void {
    this.#over = true;
    this.#controller.abort();
  }

  /** True when nothing more can be answered: it was, or the connection is gone. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether the client asked for a stream. */
  get stream(): boolean {
    return (this.request.params as { stream?: unknown } | undefined)?.stream === true;
  }

  /** Whether the delivery leaves nothing of the answer. */
  get silent(): boolean {
    return this.delivery.after === 0;
  }

  async read(maxBytes: number): Promise<void> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.req as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else if (size > maxBytes * DISCARDED) this.req.destroy();
    }
    if (size > maxBytes) throw new MessageTooLargeError(`The request is larger than ${maxBytes} bytes`);
    this.body = Buffer.concat(chunks).toString();
  }

  async result(result: object): Promise<void> {
    await this.#json(200, { ...this.#envelope(), result, error: null });
  }

  async refuse(error: ArcError, as: 'envelope' | 'event' = 'envelope'): Promise<void> {
    if (as === 'envelope' && !this.res.headersSent) {
      const status = error.status ?? STATUS.get(error.code) ?? 500;
      return this.#json(status, { ...this.#envelope(), result: null, error: error.toJSON() });
    }
    if (!this.res.headersSent) this.openStream();
    const { chatId } = (this.request.params ?? {}) as { chatId?: unknown };
    await this.event('error', { chatId, error: error.toJSON() });
    await this.end();
  }

  /** Answers as a web framework does, not as an agent. */
  async page(status: number): Promise<void> {
    if (this.res.headersSent) return this.end();
    this.head(status, { 'content-type': 'text/plain' });
    await this.write('Internal Server Error');
    await this.end();
  }

  openStream(): void {
    this.head(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    if (!this.silent && !this.res.destroyed) this.res.writeHead(...this.#head).flushHeaders();
  }

  async event(event: string, data: unknown): Promise<void> {
    await this.write(`event: ${event}\ndata: ${data === undefined ? '' : JSON.stringify(data)}\n\n`);
  }

  /** Status and headers; they leave with the first byte of the body. */
  head(status: number, headers: OutgoingHttpHeaders): void {
    this.#head = [status, { ...headers, ...this.delivery.headers }];
  }

  /** From here on bytes go to the socket itself, status line and all. */
  takeSocket(): void {
    this.#raw = true;
  }

  /** Resolves when the bytes have left, so a slow reader holds the writer up. */
  async write(data: string | Uint8Array): Promise<void> {
    const { after = Number.POSITIVE_INFINITY, chunkBytes = Number.POSITIVE_INFINITY, finish = 'end' } = this.delivery;
    const bytes = Buffer.from(data).subarray(0, after - this.#sent);
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      await this.#send(bytes.subarray(at, at + chunkBytes));
    }
    if (this.#sent >= after && finish !== 'end') await this.end();
    if (this.#over) throw new Error('The exchange is over');
  }

  async end(): Promise<void> {
    const { finish = 'end' } = this.delivery;
    if (this.#over || this.res.destroyed) return;
    if (finish === 'stall') return new Promise((resolve) => this.res.once('close', resolve));
    this.#over = true;
    if (finish === 'reset') {
      // A reader that gets the last bytes and the reset at once takes it for a proper end: let it read them first.
      for (let turns = 0; this.#sent > 0 && turns < 2; turns++) await setImmediate();
      this.req.socket.resetAndDestroy();
    } else if (finish === 'cut' || this.#raw) this.req.socket.destroySoon();
    else {
      if (!this.res.headersSent) this.res.writeHead(...this.#head);
      await new Promise<void>((resolve) => this.res.once('close', resolve).end(resolve));
    }
  }

  async #send(bytes: Buffer): Promise<void> {
    if (this.#over) throw new Error('The exchange is over');
    // Wait one turn of the event loop: chunks then leave in packets of their own, and a writer without a reader does not
    // block everything else.
    const apart = this.#raw || this.delivery.chunkBytes !== undefined;
    if (this.res.destroyed || (apart && this.#sent > 0)) await setImmediate();
    if (this.res.destroyed) return;
    if (!this.#raw && !this.res.headersSent) this.res.writeHead(...this.#head);
    this.#sent += bytes.length;
    await new Promise<void>((resolve) => {
      const left = (): void => {
        this.res.off('close', left);
        resolve();
      };
      this.res.once('close', left);
      if (this.#raw) this.req.socket.write(bytes, left);
      else this.res.write(bytes, left);
    });
  }

  #envelope(): Record<string, unknown> {
    const { id, requestAgent, targetAgent, traceId } = this.request;
    return {
      arc: ARC_VERSION,
      id: typeof id === 'string' || typeof id === 'number' ? id : 'error',
      responseAgent: typeof targetAgent === 'string' ? targetAgent : 'agent-server',
      targetAgent: typeof requestAgent === 'string' ? requestAgent : 'unknown',
      ...(typeof traceId === 'string' ? { traceId } : {}),
    };
  }

  async #json(status: number, envelope: object): Promise<void> {
    const body = JSON.stringify(envelope);
    const { after, finish = 'end' } = this.delivery;
    // A body that is cut short but ends properly is chunked: with a length it would be a broken message instead. So is
    // one that stalls: with a length that is reached, the client would reuse the connection, which is never read again.
    const isChunked = finish === 'stall' || (after !== undefined && finish === 'end');
    const length = isChunked ? {} : { 'content-length': Buffer.byteLength(body) };
    this.head(status, { 'content-type': ARC_CONTENT_TYPE, ...length });
    await this.write(body);
    await this.end();
  }
}
