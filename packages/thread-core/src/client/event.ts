import { type Bytes, decode, encode } from '../bytes.js';
import { Shape } from './shape.js';

/** One event of an agent's stream, in one form however the agent spelled it. */
export interface ArcEvent {
  /** `content`, `metadata`, `done`, `error`, or the agent's own name (progress, tool calls, …). */
  readonly event: string;
  /** The event's data, parsed; a string where the agent sent something that is not JSON; null for an empty `done`. */
  readonly data: unknown;
  /** The same as JSON text: the agent's own bytes, for passing on without rebuilding them. */
  readonly json: string;
  /** The chat that the answer belongs to, where the event says so. Only `content` and `done` events do. */
  readonly chatId?: string | undefined;
  /** True on each event of a `sendToAgent` for which a lost chat was started afresh. */
  restarted?: true;
}

/** An event as it comes from an agent. It is decoded and parsed for whoever asks for its data. */
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

/**
 * What is called how here: agents send the next piece of an answer under several names, no name at all being one of them.
 * The others stand here because texts that are the very same are compared at once.
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

/** Makes events of what one stream brings. What has the shape of those before is known to be JSON without being parsed. */
export class Events {
  readonly shape = new Shape();
  /** What the last event was called, and what it is called here: mostly the next one is called the same. */
  #name = '';
  #event = 'content';
  /** The chat of the event that was parsed last, and of all that have its shape. */
  #chatId: string | undefined;

  read(name: Bytes, bytes: Bytes): StreamEvent {
    if (name !== this.#name) {
      this.#name = name;
      // A copy, because it may be kept, and with it all that it was cut from.
      this.#event = NAMES.get(name) ?? Buffer.from(name, 'latin1').toString();
    }
    const event = this.#event;
    if (this.shape.fits(bytes)) return new StreamEvent(event, bytes, namesChat(event) ? this.#chatId : undefined);
    if (bytes === '' && event === 'done') return new StreamEvent(event, NULL, undefined);
    const text = decode(bytes);
    let chatId: string | undefined;
    try {
      chatId = chatIdOf(JSON.parse(text));
    } catch {
      return new StreamEvent(event, encode(JSON.stringify(text)), undefined);
    }
    // It is the last, and no other will be like it.
    if (event !== 'done') {
      this.#chatId = chatId;
      this.shape.learn(bytes, encode(chatId ?? ''));
    }
    return new StreamEvent(event, bytes, namesChat(event) ? chatId : undefined);
  }
}

/** All other events carry what others wrote (metadata of a client, the result of a tool), chat ids included. */
function namesChat(event: string): boolean {
  return event === 'content' || event === 'done';
}

/** A plain object, whatever the event is made of: it may be written as JSON, or compared. */
export function plain({ event, data, json, chatId }: ArcEvent): ArcEvent {
  return { event, data, json, chatId };
}

/** Finds the chat id in `{chatId}`, `{chat: {chatId}}`, or an envelope's `{result: {chat: {chatId}}}`. */
export function chatIdOf(data: unknown): string | undefined {
  const found = field(data, 'chatId') ?? field(field(data, 'chat') ?? field(field(data, 'result'), 'chat'), 'chatId');
  return typeof found === 'string' && found !== '' ? found : undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
