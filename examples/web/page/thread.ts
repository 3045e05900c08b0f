import {
  CancelledError,
  ClosedError,
  InterruptedError,
  type Piece,
  SessionLostError,
  type ThreadClient,
  type Turn,
} from '@arc/thread-client';
import { type ArcPart, chatIdOf, partsOf } from '@arc/thread-protocol';
import { button, el, randomId } from './dom.js';
import { type Entry, type ExchangeRecord, Journal } from './journal.js';
import { envelopeError, isObject, type ShownError, shownError } from './parts.js';
import { type Exchange, Transcript } from './transcript.js';

export interface Agent {
  id: string;
  name: string;
  about: string;
  /** What one may ask it. */
  questions: readonly string[];
  /** Which of the page's six hues its mark has. */
  hue: number;
}

export interface ThreadHost {
  readonly client: ThreadClient;
  /** Something of this thread that is shown outside its transcript is different now. */
  changed(thread: Thread): void;
  /** Sends a text that was not typed: a question that the page proposes, or one that failed before. */
  say(thread: Thread, text: string): void;
}

/** The conversation with one agent: its messages, the pending answers, and what is kept over a reload. */
export class Thread {
  readonly agent: Agent;
  readonly transcript: Transcript;
  /** The trace id of a chat, which is sent with every message in it. */
  traceId: string | undefined;
  chatId: string | undefined;
  unread = 0;
  isEnding = false;
  readonly #host: ThreadHost;
  readonly #journal: Journal;
  readonly #entries: Entry[];
  #running = 0;

  constructor(agent: Agent, host: ThreadHost) {
    this.agent = agent;
    this.#host = host;
    const questions = agent.questions.map((text) => button(text, 'quiet', () => host.say(this, text)));
    const empty = el('div', { class: 'empty' }, markOf(agent), el('h3', {}, `Talk to ${agent.name}`));
    if (agent.about !== '') empty.append(el('p', {}, agent.about));
    empty.append(el('div', { class: 'questions' }, ...questions));
    this.transcript = new Transcript(agent.name, empty);
    this.#journal = new Journal(agent.id);
    const { entries, chatId, traceId } = this.#journal.load();
    this.#entries = entries;
    this.chatId = chatId;
    this.traceId = traceId;
    this.#restore();
  }

  get isRunning(): boolean {
    return this.#running > 0;
  }

  /** There is, or soon will be, a chat on the agent's side. */
  get hasChat(): boolean {
    return this.chatId !== undefined || this.isRunning;
  }

  send(text: string, stream: boolean): void {
    this.traceId ??= `trace-${randomId()}`;
    const turn = this.#host.client.send(this.agent.id, text, { stream, traceId: this.traceId });
    const record: ExchangeRecord = { id: turn.id, text, parts: [], events: [] };
    this.#entries.push(record);
    const exchange = this.transcript.exchange(text, () => turn.cancel());
    void this.#follow(turn, record, exchange);
    this.#changed();
  }

  async end(): Promise<void> {
    if (this.isEnding) return;
    this.isEnding = true;
    this.#changed();
    try {
      await this.#host.client.end(this.agent.id, { reason: 'Ended by the user' });
      this.forgetChat('Chat ended. The next message starts a new one.');
    } catch (error) {
      this.isEnding = false;
      this.#entries.push({ error: shownError(error) });
      this.transcript.error(shownError(error));
      this.#changed();
    }
  }

  /** The chat is gone, and what was said in it is forgotten. */
  forgetChat(notice: string): void {
    this.chatId = undefined;
    this.traceId = undefined;
    this.isEnding = false;
    this.#entries.push({ notice });
    this.transcript.notice(notice);
    this.#changed();
  }

  /** Shows what the page before a reload has shown, and follows the answers that are still to come. */
  #restore(): void {
    const pending = new Map(this.#host.client.pending().map((turn) => [turn.id, turn]));
    for (const entry of this.#entries) {
      if ('notice' in entry) this.transcript.notice(entry.notice);
      else if (!('id' in entry)) this.transcript.error(entry.error);
      else this.#restoreExchange(entry, pending.get(entry.id));
    }
  }

  #restoreExchange(record: ExchangeRecord, turn: Turn | undefined): void {
    const exchange = this.transcript.exchange(record.text, () => turn?.cancel());
    if (turn !== undefined) {
      // It begins at its first piece again.
      record.parts = [];
      record.events = [];
      void this.#follow(turn, record, exchange);
      return;
    }
    exchange.add(record.parts);
    for (const [name, data] of record.events) exchange.addEvent(name, data);
    if (record.end === 'done') exchange.finish();
    else if (record.end === 'stopped') exchange.stopped();
    else
      this.#fail(
        record,
        exchange,
        record.error ?? { message: 'The page was closed before the answer came.' },
        record.title ?? 'Not answered',
      );
  }

  async #follow(turn: Turn, record: ExchangeRecord, exchange: Exchange): Promise<void> {
    this.#running += 1;
    try {
      for await (const piece of turn) this.#show(piece, record, exchange);
      const result = await turn.result;
      const error = envelopeError(result);
      if (error !== undefined) this.#fail(record, exchange, error);
      else {
        this.#noteChat(result);
        // An agent that says everything at once may say it in its last event.
        if (!exchange.hasContent) this.#add(partsOf(result) ?? [], record, exchange);
        record.end = 'done';
        exchange.finish();
      }
    } catch (error) {
      if (error instanceof CancelledError) {
        record.end = 'stopped';
        exchange.stopped();
      } else if (error instanceof InterruptedError) {
        this.#fail(record, exchange, { message: 'The server gave the answer up.' }, 'Not answered');
      } else if (error instanceof SessionLostError || error instanceof ClosedError) {
        const message = 'The connection was lost before the answer was complete.';
        this.#fail(record, exchange, { message }, 'Not answered');
      } else this.#fail(record, exchange, shownError(error));
    }
    this.#running -= 1;
    this.unread += 1;
    if (turn.restarted) {
      const notice = `${this.agent.name} had lost this chat and a new one was started: what was said above is no longer known.`;
      this.#entries.splice(this.#entries.indexOf(record), 0, { notice });
      this.transcript.notice(notice, exchange.question);
    }
    this.#changed();
  }

  #show({ type, event = 'metadata', data }: Piece, record: ExchangeRecord, exchange: Exchange): void {
    this.#noteChat(data);
    // Some agents use other event names: an event with a message is a piece of the answer, whatever its name.
    const parts = type === 'metadata' || (type === 'event' && !isObject(data)) ? undefined : partsOf(data);
    if (parts !== undefined) this.#add(parts, record, exchange);
    else if (type === 'content') this.#add([{ type: 'data', content: data }], record, exchange);
    else if (type !== 'response') {
      record.events.push([event, data]);
      exchange.addEvent(event, data);
    }
    this.#host.changed(this);
  }

  #add(parts: readonly ArcPart[], record: ExchangeRecord, exchange: Exchange): void {
    record.parts.push(...parts);
    exchange.add(parts);
  }

  #fail(record: ExchangeRecord, exchange: Exchange, error: ShownError, title = 'Error'): void {
    Object.assign(record, { end: 'failed', error, title });
    exchange.failed(error, () => this.#host.say(this, record.text), title);
  }

  #noteChat(data: unknown): void {
    this.chatId = chatIdOf(data) ?? this.chatId;
  }

  #changed(): void {
    this.#journal.save({ entries: this.#entries, chatId: this.chatId, traceId: this.traceId });
    this.#host.changed(this);
  }
}

/** An agent's initial on a colour of its own. */
export function markOf(agent: Agent): HTMLElement {
  return el('span', { class: `mark hue-${agent.hue}`, 'aria-hidden': 'true' }, agent.name.slice(0, 1).toUpperCase());
}
