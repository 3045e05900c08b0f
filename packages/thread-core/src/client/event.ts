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
}

/** The names under which agents send the next piece of an answer. No name at all is one of them. */
const CONTENT = new Set(['content', 'stream', 'chat', 'message', '']);

export function readEvent(name: string, text: string): ArcEvent {
  const event = CONTENT.has(name) ? 'content' : name;
  if (text === '' && event === 'done') return { event, data: null, json: 'null' };
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return { event, data: text, json: JSON.stringify(text) };
  }
  return { event, data, json: text, chatId: chatIdOf(data) };
}

/** Finds the chat id in `{chatId}`, `{chat: {chatId}}`, or an envelope's `{result: {chat: {chatId}}}`. */
export function chatIdOf(data: unknown): string | undefined {
  const found = field(data, 'chatId') ?? field(field(data, 'chat') ?? field(field(data, 'result'), 'chat'), 'chatId');
  return typeof found === 'string' && found !== '' ? found : undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
