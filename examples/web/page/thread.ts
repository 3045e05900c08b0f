import { button, el, randomId } from './dom.js';
import {
  type ClientFrame,
  chatIdOf,
  type ErrorData,
  envelopeErrorOf,
  errorOf,
  type Part,
  partsOf,
  type RelayFrame,
} from './frames.js';
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

export interface Link {
  /** False where there is no connection. */
  send(frame: ClientFrame): boolean;
  /** Something of this thread that is shown outside its transcript is different now. */
  changed(thread: Thread): void;
  /** Sends a text that was not typed: a question that the page proposes, or one that failed before. */
  say(thread: Thread, text: string): boolean;
}

interface Send {
  text: string;
  exchange: Exchange;
}

let sends = 0;

/** The conversation with one agent: what was sent and is not answered yet, and the chat that the relay keeps for it. */
export class Thread {
  readonly agent: Agent;
  readonly transcript: Transcript;
  /** A chat's trace id is made here, and goes with everything that is sent in it. */
  traceId: string | undefined;
  chatId: string | undefined;
  unread = 0;
  readonly #link: Link;
  readonly #pending = new Map<string, Send>();
  #ending: string | undefined;

  constructor(agent: Agent, link: Link) {
    this.agent = agent;
    this.#link = link;
    const questions = agent.questions.map((text) => button(text, 'quiet', () => link.say(this, text)));
    const empty = el('div', { class: 'empty' }, markOf(agent), el('h3', {}, `Talk to ${agent.name}`));
    if (agent.about !== '') empty.append(el('p', {}, agent.about));
    empty.append(el('div', { class: 'questions' }, ...questions));
    this.transcript = new Transcript(agent.name, empty);
  }

  get isRunning(): boolean {
    return this.#pending.size > 0;
  }

  get isEnding(): boolean {
    return this.#ending !== undefined;
  }

  /** There is, or soon will be, a chat on the agent's side. */
  get hasChat(): boolean {
    return this.chatId !== undefined || this.isRunning;
  }

  send(text: string, stream: boolean): boolean {
    const id = nextId();
    const traceId = this.traceId ?? `trace-${randomId()}`;
    const message = { role: 'user' as const, parts: [{ type: 'text', content: text }] };
    if (!this.#link.send({ agent_id: this.agent.id, message, id, trace_id: traceId, stream })) return false;
    this.traceId = traceId;
    const exchange = this.transcript.exchange(text, () => this.#link.send({ type: 'cancel', id }));
    this.#pending.set(id, { text, exchange });
    this.#link.changed(this);
    return true;
  }

  end(): void {
    const id = nextId();
    if (this.isEnding || !this.#link.send({ type: 'end', agent_id: this.agent.id, reason: 'Ended by the user', id }))
      return;
    this.#ending = id;
    this.#link.changed(this);
  }

  /** Whether a frame with this id answers something of this thread. */
  owns(id: RelayFrame['id']): boolean {
    return typeof id === 'string' && (this.#pending.has(id) || this.#ending === id);
  }

  receive(frame: RelayFrame): void {
    const send = typeof frame.id === 'string' ? this.#pending.get(frame.id) : undefined;
    switch (frame.type) {
      case 'content':
        this.#noteChat(frame.data);
        send?.exchange.add(partsOf(frame.data) ?? [asPart(frame.data)]);
        break;
      case 'event':
      case 'metadata': {
        this.#noteChat(frame.data);
        // Some agents name their pieces otherwise: what holds a message is a piece of the answer, whatever its name.
        const parts = frame.type === 'event' && typeof frame.data === 'object' ? partsOf(frame.data) : undefined;
        if (parts !== undefined) send?.exchange.add(parts);
        else send?.exchange.addEvent(frame.type === 'event' ? frame.event : 'metadata', frame.data);
        break;
      }
      case 'response': {
        const error = envelopeErrorOf(frame.response);
        if (error !== undefined) {
          this.#failed(frame, error);
          break;
        }
        this.#noteChat(frame.response);
        send?.exchange.add(partsOf(frame.response) ?? []);
        this.#settle(frame, (exchange) => exchange.finish());
        break;
      }
      case 'done':
        this.#noteChat(frame.data);
        // An agent that says everything at once may say it in its last event.
        if (send?.exchange.hasContent === false) send.exchange.add(partsOf(frame.data) ?? []);
        this.#settle(frame, (exchange) => exchange.finish());
        break;
      case 'cancelled':
        this.#settle(frame, (exchange) => exchange.stopped());
        break;
      case 'error':
        this.#failed(frame, errorOf(frame.data));
        break;
      case 'ended':
        this.#forgetChat('Chat ended. The next message starts a new one.');
        break;
      case 'pong':
        return;
    }
    this.#link.changed(this);
  }

  /** The connection is gone, and with it the relay's thread and every answer that had not come. */
  disconnected(code: number): void {
    const hadChat = this.hasChat;
    for (const { text, exchange } of this.#pending.values()) {
      const message = `The connection was lost (${code}) before the answer was complete.`;
      exchange.failed({ message }, () => this.#link.say(this, text), 'Not answered');
    }
    this.#pending.clear();
    if (hadChat)
      this.#forgetChat('The connection was lost and the chat has ended with it. The next message starts a new one.');
    this.#link.changed(this);
  }

  #failed(frame: RelayFrame, error: ErrorData): void {
    const known = this.#settle(frame, (exchange, text) => exchange.failed(error, () => this.#link.say(this, text)));
    if (known) return;
    if (frame.id !== undefined && frame.id === this.#ending) this.#ending = undefined;
    this.transcript.error(error);
  }

  /** Ends the send that a frame is the last one for. */
  #settle(frame: RelayFrame, end: (exchange: Exchange, text: string) => void): boolean {
    const send = typeof frame.id === 'string' ? this.#pending.get(frame.id) : undefined;
    if (send === undefined) return false;
    this.#pending.delete(String(frame.id));
    end(send.exchange, send.text);
    if (frame.restarted === true) {
      const text = `${this.agent.name} had lost this chat and a new one was started: what was said above is no longer known.`;
      this.transcript.notice(text, send.exchange.question);
    }
    this.unread += 1;
    return true;
  }

  #noteChat(data: unknown): void {
    this.chatId = chatIdOf(data) ?? this.chatId;
  }

  #forgetChat(notice: string): void {
    this.chatId = undefined;
    this.traceId = undefined;
    this.#ending = undefined;
    this.transcript.notice(notice);
  }
}

/** An agent's initial on a colour of its own. */
export function markOf(agent: Agent): HTMLElement {
  return el('span', { class: `mark hue-${agent.hue}`, 'aria-hidden': 'true' }, agent.name.slice(0, 1).toUpperCase());
}

function nextId(): string {
  sends += 1;
  return `send-${sends}`;
}

/** Streamed data in no known shape, as a part that is shown as it is. */
function asPart(data: unknown): Part {
  return { type: 'data', content: data };
}
