import { Shape } from './shape.js';

/** One event of an agent's stream, in one form however the agent spelled it. */
export interface ArcEvent {
  /** `content`, `metadata`, `done`, `error`, or the agent's own name (progress, tool calls, …). */
  readonly event: string;
  /** The event's data, parsed; a string where the agent sent something that is not JSON; null for an empty `done`. */
  readonly data: unknown;
  /** The same as JSON text: the agent's own bytes, for passing on without rebuilding them. */
  readonly json: string;
  /** The chat that the event belongs to, where it says so. */
  readonly chatId?: string | undefined;
  /** True on each event of a `sendToAgent` for which a lost chat was started afresh. */
  restarted?: true;
}

/** The names under which agents send the next piece of an answer. No name at all is one of them. */
const CONTENT = new Set(['content', 'stream', 'chat', 'message', '']);

/** Makes events of what one stream brings. What has the shape of those before is not parsed until it is asked for. */
export class Events {
  readonly #shape = new Shape();
  /** The chat of the event that was parsed last, and of all that have its shape. */
  #chatId: string | undefined;

  read(name: string, text: string): ArcEvent {
    const event = CONTENT.has(name) ? 'content' : name;
    if (this.#shape.fits(text)) return new KnownEvent(event, text, this.#chatId);
    if (text === '' && event === 'done') return { event, data: null, json: 'null' };
    let data: unknown;
    try {
      data = JSON.parse(text);
    } catch {
      return { event, data: text, json: JSON.stringify(text) };
    }
    this.#chatId = chatIdOf(data);
    this.#shape.learn(text, this.#chatId ?? '');
    return { event, data, json: text, chatId: this.#chatId };
  }
}

/** An event whose text is known to be JSON, and is parsed by whoever wants its data. */
class KnownEvent implements ArcEvent {
  readonly event: string;
  readonly json: string;
  readonly chatId: string | undefined;

  constructor(event: string, json: string, chatId: string | undefined) {
    this.event = event;
    this.json = json;
    this.chatId = chatId;
  }

  get data(): unknown {
    return JSON.parse(this.json);
  }
}

/** Finds the chat id in `{chatId}`, `{chat: {chatId}}`, or an envelope's `{result: {chat: {chatId}}}`. */
export function chatIdOf(data: unknown): string | undefined {
  const found = field(data, 'chatId') ?? field(field(data, 'chat') ?? field(field(data, 'result'), 'chat'), 'chatId');
  return typeof found === 'string' && found !== '' ? found : undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
