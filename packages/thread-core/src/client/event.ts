import { chatIdOf } from '@arc/thread-protocol';
import { type Bytes, decode, encode } from '../bytes.js';
import { isTooDeep } from '../json-text.js';
import { usableChatId } from './chat-id.js';
import { createRecogniser } from './json-shape.js';
import { hasNonFinite, replaceNonFinite } from './non-finite.js';

/** One event of an agent's stream, in one form however the agent spelled it. */
export interface ArcEvent {
  /** `content`, `metadata`, `done`, `error`, or the agent's own name (progress, tool calls, …). */
  readonly event: string;
  /**
   * The event's data, parsed; a string if the agent sent something that is not JSON, or is nested more than 10,000 levels
   * deep; null for an empty `done`.
   */
  readonly data: unknown;
  /** The same as JSON text: the agent's own bytes, for passing on without rebuilding them. */
  readonly json: string;
  /** The chat that the answer belongs to, if the event names it. Only `content` and `done` events do. */
  readonly chatId?: string | undefined;
  /** True on each event of a `sendToAgent` for which a lost chat was started afresh. */
  restarted?: true;
}

/** An event of an agent. It is decoded and parsed when its data is read. */
export class StreamEvent implements ArcEvent {
  readonly event: string;
  /** The agent's own bytes, which are JSON. */
  readonly bytes: Bytes;
  readonly chatId: string | undefined;

  constructor(event: string, bytes: Bytes, chatId: string | undefined) {
    this.event = event;
    this.bytes = bytes;
    this.chatId = chatId;
  }

  get json(): string {
    return decode(this.bytes);
  }

  get data(): unknown {
    return JSON.parse(this.json);
  }
}

const NULL = encode('null');

/** The end of a stream as OpenAI spells it, which is not JSON. Agents built on such a stream pass it on. */
const OPENAI_DONE = '[DONE]';

/**
 * The name of an event here, by the agent's name. Agents send the next piece of an answer under several names, or under
 * none. The other names are here so that equal strings are one object, which compares faster.
 */
const NAMES = new Map([
  ['', 'content'],
  ['chat', 'content'],
  ['content', 'content'],
  ['message', 'content'],
  ['stream', 'content'],
  ['done', 'done'],
  ['error', 'error'],
  ['metadata', 'metadata'],
]);

/** The events of a stream that ends without one that says so. */
export function impliedDone(): StreamEvent {
  return new StreamEvent('done', NULL, undefined);
}

/** Makes events of the names and data in one stream. */
export class EventParser {
  /** An event had `NaN` or `Infinity`, which was replaced by null. */
  hadNonFinite = false;
  /** The last event was text that is not JSON. */
  wasText = false;
  readonly #recogniser = createRecogniser();
  /** The agent's name of the last event, and the name here: mostly the next event has the same. */
  #name = '';
  #event = 'content';
  /** The chat of the event that was parsed last, and of all whose structure is recognised. */
  #chatId: string | undefined;

  read(name: Bytes, bytes: Bytes): StreamEvent {
    if (name !== this.#name) {
      this.#name = name;
      // A copy, because it may be kept, and with it the chunk that it was cut from.
      this.#event = NAMES.get(name) ?? Buffer.from(name, 'latin1').toString();
    }
    const event = this.#event;
    this.wasText = false;
    if (this.#recogniser.fits(bytes)) return new StreamEvent(event, bytes, namedChat(event, this.#chatId));
    if ((bytes === '' && event === 'done') || bytes === OPENAI_DONE) return impliedDone();
    const text = decode(bytes);
    if (isTooDeep(text)) return this.#readText(event, text);
    try {
      const chatId = chatIdOf(JSON.parse(text));
      // It is the last event, and no other will be like it.
      if (event !== 'done') {
        this.#chatId = chatId;
        this.#recogniser.learn(bytes, encode(chatId ?? ''));
      }
      return new StreamEvent(event, bytes, namedChat(event, chatId));
    } catch {
      return this.#readOther(event, text);
    }
  }

  /** Text that is not JSON: passed on as a string, unless only its numbers are wrong. */
  #readOther(event: string, text: string): StreamEvent {
    if (hasNonFinite(text)) {
      const repaired = replaceNonFinite(text);
      try {
        const chatId = chatIdOf(JSON.parse(repaired));
        this.hadNonFinite = true;
        return new StreamEvent(event, encode(repaired), namedChat(event, chatId));
      } catch {
        // It is not JSON for other reasons.
      }
    }
    return this.#readText(event, text);
  }

  #readText(event: string, text: string): StreamEvent {
    this.wasText = true;
    return new StreamEvent(event, encode(JSON.stringify(text)), undefined);
  }
}

/** The chat that an event names. All other events carry what others wrote (metadata, the result of a tool), chat ids included. */
function namedChat(event: string, chatId: string | undefined): string | undefined {
  return event === 'content' || event === 'done' ? usableChatId(chatId) : undefined;
}

/** A plain object, whatever the event is made of: it may be written as JSON, or compared. */
export function plain({ event, data, json, chatId }: ArcEvent): ArcEvent {
  return { event, data, json, chatId };
}
