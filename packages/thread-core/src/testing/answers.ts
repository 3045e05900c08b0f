import { setTimeout } from 'node:timers/promises';
import { arcError } from '../protocol/errors.js';
import type { AgentHandler, AgentPiece } from './agent.js';
import type { Delivery, Exchange } from './exchange.js';

/** One event of a scripted stream. A string is written as it is. Data that is not a string becomes JSON. */
export type StreamEvent = string | { event?: string; data?: unknown };

/** What the agent says: a reply, or a handler that gives one. The chat continues as it does without a script. */
export interface ReplyAnswer {
  reply: string | readonly AgentPiece[] | AgentHandler;
}

/** A refusal: nothing happens to the chat, and a chat.start creates none. */
export interface ErrorAnswer {
  error: { code: number; message?: string; details?: unknown };
  /** The HTTP status of an envelope. Default: that of the code. */
  status?: number;
  /** `event`: a stream with HTTP status 200 whose first and only event is `error`. Default `envelope`. */
  as?: 'envelope' | 'event';
}

/** A stream of exactly these events, whatever was asked for. */
export interface EventsAnswer {
  events: Iterable<StreamEvent>;
  /** Default `\n`. */
  lineEnd?: '\n' | '\r\n' | '\r';
  /** Whether the blank line after the last event is sent. Default true. */
  finalBlankLine?: boolean;
  /** Adds a `done` event with the chat's id. Default: unless the last event is `done` or `error`, or `finish` is set. */
  done?: boolean;
}

/** An answer of something in front of the agent, which never sees the request: a proxy's page, a redirect. */
export interface HttpAnswer {
  status: number;
  body?: string;
}

/** The whole HTTP answer byte for byte, status line included, a chunk at a time; then the connection is closed. */
export interface RawAnswer {
  raw: Iterable<string | Uint8Array>;
}

/** When a scripted answer is given, and for how many requests. */
export interface AnswerOptions extends Delivery {
  /** Milliseconds before the request is answered. Default 0. */
  delay?: number;
  /** How many requests it answers. Default 1; `Infinity` for all that match from now on. */
  times?: number;
}

/** One answer that `script` takes: what it is, and how it is delivered. */
export type ScriptedAnswer = (ReplyAnswer | ErrorAnswer | EventsAnswer | HttpAnswer | RawAnswer) & AnswerOptions;

/** What `script` takes: a reply, a handler, or an answer spelt out. */
export type Answer = ReplyAnswer['reply'] | ScriptedAnswer;

/** Answers that go wrong, ready made. Each is a plain object: spread one to add `delay`, `times` and so on. */
export const faults = {
  /** Resets the connection (RST) after that many bytes of the answer's body. */
  reset: (after = 0) => ({ reply: 'cut short by a reset', after, finish: 'reset' }),
  /** Closes the connection after that many bytes: a truncated body, or a truncated stream. */
  cut: (after = 40) => ({ reply: 'cut short by a close', after, finish: 'cut' }),
  /** A proper HTTP answer whose JSON (or stream) stops after that many bytes. */
  truncated: (after = 40) => ({ reply: 'cut short', after }),
  /** Never answers. */
  hang: () => ({ reply: '', after: 0, finish: 'stall' }),
  /** A stream that sends these events, and then nothing more. */
  stall: (...events: StreamEvent[]) => ({ events, finish: 'stall' }),
  /** A proxy's error page. */
  html: (status = 502) => ({
    status,
    body: `<html><body><h1>${status}</h1></body></html>`,
    headers: { 'content-type': 'text/html' },
  }),
  /** No body at all. */
  empty: (status: 204 | 500 | (number & {}) = 500) => ({ status }),
  /** Sends the client to a path or another origin; to the same path with `times: Infinity` it is a loop. */
  redirect: (location = '/arc/', status: 307 | 308 = 307) => ({ status, headers: { location } }),
  /** A right answer under a wrong content type. */
  contentType: (type = 'text/plain') => ({ reply: 'hello', headers: { 'content-type': type } }),
  /** An answer whose text has that many characters. */
  huge: (length: number) => ({ reply: 'x'.repeat(length) }),
  /** A stream whose first event never ends. */
  endlessEvent: () => ({ events: { [Symbol.iterator]: endless } }),
} satisfies Record<string, (...args: never[]) => ScriptedAnswer>;

/** What is to be done with one request. @internal */
export interface Plan {
  delivery?: Delivery;
  /** Waits for gates and delays. */
  ready?(signal: AbortSignal): Promise<unknown>;
  /** Answers in the agent's place, which never sees the request. */
  instead?(exchange: Exchange): Promise<void>;
  /** Writes the answer of a request that the agent took. */
  write?(exchange: Exchange, chatId: string): Promise<void>;
  /** Takes the place of the agent's handler. */
  handler?: AgentHandler;
}

/** @internal */
export function planOf(answer: ScriptedAnswer): Plan {
  const { delay } = answer;
  const plan: Plan = { delivery: answer };
  if (delay !== undefined) plan.ready = (signal) => setTimeout(delay, undefined, { signal });
  if ('reply' in answer) {
    const { reply } = answer;
    plan.handler = typeof reply === 'function' ? reply : () => reply;
  } else if ('events' in answer) {
    plan.write = (exchange, chatId) => writeEvents(exchange, answer, chatId);
  } else if ('raw' in answer) {
    plan.write = (exchange) => writeRaw(exchange, answer.raw);
  } else if ('error' in answer) {
    const { code, message = 'A scripted error', details } = answer.error;
    plan.instead = (exchange) =>
      exchange.refuse(arcError(code, message, { details, status: answer.status }), answer.as);
  } else {
    plan.instead = (exchange) => writeHttp(exchange, answer);
  }
  return plan;
}

async function writeHttp(exchange: Exchange, { status, body }: HttpAnswer): Promise<void> {
  exchange.head(status, {});
  if (body !== undefined) await exchange.write(body);
  await exchange.end();
}

async function writeRaw(exchange: Exchange, chunks: RawAnswer['raw']): Promise<void> {
  exchange.takeSocket();
  for (const chunk of chunks) await exchange.write(chunk);
  await exchange.end();
}

async function writeEvents(exchange: Exchange, answer: EventsAnswer & AnswerOptions, chatId: string): Promise<void> {
  const { lineEnd = '\n', finalBlankLine = true } = answer;
  let last: StreamEvent | undefined;
  exchange.openStream();
  // An event is written when the next one is known, because the last may lack its blank line.
  for (const event of answer.events) {
    if (last !== undefined) await exchange.write(encode(last, lineEnd) + blank(last, lineEnd));
    last = event;
  }
  const name = typeof last === 'object' ? last.event : undefined;
  if (answer.done ?? (answer.finish === undefined && name !== 'done' && name !== 'error')) {
    if (last !== undefined) await exchange.write(encode(last, lineEnd) + blank(last, lineEnd));
    last = { event: 'done', data: { chatId, status: 'ACTIVE', done: true, requestId: exchange.request.id } };
  }
  if (last !== undefined) await exchange.write(encode(last, lineEnd) + (finalBlankLine ? blank(last, lineEnd) : ''));
  await exchange.end();
}

function encode(event: StreamEvent, lineEnd: string): string {
  if (typeof event === 'string') return event;
  const { data = '' } = event;
  const lines = (typeof data === 'string' ? data : JSON.stringify(data)).split('\n').map((line) => `data: ${line}`);
  return [...(event.event === undefined ? [] : [`event: ${event.event}`]), ...lines, ''].join(lineEnd);
}

function blank(event: StreamEvent, lineEnd: string): string {
  return typeof event === 'string' ? '' : lineEnd;
}

function* endless(): Generator<StreamEvent> {
  yield 'event: stream\ndata: ';
  for (;;) yield 'x'.repeat(65_536);
}
