import type { ArcMessage, ArcPart } from './arc.js';

/** A user's message with one part of text. */
export function text(content: string): ArcMessage {
  return { role: 'user', parts: [{ type: 'text', content }] };
}

/**
 * The text of an answer, or of one piece of it: of an envelope, the data of a streamed event in any of its shapes, a
 * chat, a message, or a bare string. The text parts are joined without a separator, because a streamed piece may end
 * inside a word. Empty if there is no text.
 */
export function textOf(answer: unknown): string {
  if (typeof answer === 'string') return answer;
  let joined = '';
  for (const part of listOf(answer) ?? []) {
    const { type, content } = Object(part) as Partial<ArcPart>;
    if ((type === 'text' || type === 'TextPart') && typeof content === 'string') joined += content;
  }
  return joined;
}

/**
 * The parts of the message in an answer, or in one piece of it. Takes what `textOf` takes. Undefined if there is no
 * message in it. A part that is not an object with a `type` is wrapped as `{ type: 'data', content }`.
 */
export function partsOf(answer: unknown): ArcPart[] | undefined {
  if (typeof answer === 'string') return [{ type: 'text', content: answer }];
  return listOf(answer)?.map((part) => (isPart(part) ? part : { type: 'data', content: part }));
}

/**
 * The chat id in an answer, or in one piece of it. Takes what `textOf` takes. If there are several, the outermost
 * counts. Undefined if there is none.
 */
export function chatIdOf(answer: unknown): string | undefined {
  const found = isObject(answer) ? (idIn(answer) ?? idIn(answer.result)) : undefined;
  return typeof found === 'string' && found !== '' ? found : undefined;
}

function idIn(value: unknown): unknown {
  if (!isObject(value)) return undefined;
  return value.chatId ?? (isObject(value.chat) ? value.chat.chatId : undefined);
}

/** The parts as the agent sent them. `textOf` needs no more, and is a part of every page. */
function listOf(answer: unknown): unknown[] | undefined {
  const chat = chatOf(answer);
  const message = isObject(chat?.message) ? chat.message : chat;
  return Array.isArray(message?.parts) ? message.parts : undefined;
}

/** Agents put the chat into an envelope's result, into `chat`, or send its fields alone. */
function chatOf(answer: unknown): Record<string, unknown> | undefined {
  if (!isObject(answer)) return undefined;
  const result = isObject(answer.result) ? answer.result : answer;
  return isObject(result.chat) ? result.chat : result;
}

function isPart(value: unknown): value is ArcPart {
  return isObject(value) && typeof value.type === 'string';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
