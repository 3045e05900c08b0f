export type Json = Record<string, unknown>;

/** A frame of the relay, as a test looks at it. */
export interface Frame extends Json {
  type: string;
  id?: string | number;
  data?: unknown;
}

/** A message's `message`. */
export function say(text: string): { role: string; parts: Json[] } {
  return { role: 'user', parts: [{ type: 'text', content: text }] };
}

/** A message frame. */
export function to(agentId: string, text = 'hello', more: Json = {}): Json {
  return { agent_id: agentId, message: say(text), ...more };
}

const LAST: ReadonlySet<unknown> = new Set(['response', 'done', 'error', 'cancelled', 'ended', 'pong']);

/** Whether a frame is the last one of an answer. */
export function isLast(frame: Frame | undefined): boolean {
  return LAST.has(frame?.type);
}

interface Chat {
  message?: { parts?: { content: string }[] };
}

/** The text of a response frame, or of a content frame. */
export function textOf({ response, data }: Json): string {
  const envelope = response as { result?: { chat?: Chat } } | undefined;
  const { message } = envelope?.result?.chat ?? (data as Chat | undefined) ?? {};
  return (message?.parts ?? []).map(({ content }) => content).join('');
}

/** The text of the content frames among these. */
export function streamedText(frames: readonly Frame[]): string {
  return frames
    .filter(({ type }) => type === 'content')
    .map(textOf)
    .join('');
}
