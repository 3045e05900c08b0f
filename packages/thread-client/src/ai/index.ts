import { partsOf } from '@arc/thread-protocol';
import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai';
import { CancelledError, ThreadClientError } from '../errors.js';
import type { ArcMessage, ArcPart, Piece, ThreadClient, Turn } from '../index.js';

/** The chat asked for something that an agent cannot do, since it keeps its own history. */
export class UnsupportedTriggerError extends ThreadClientError {
  override readonly name = 'UnsupportedTriggerError';
  readonly code = 'UNSUPPORTED_TRIGGER';
}

/** Options of `ThreadChatTransport`. */
export interface ThreadChatTransportOptions {
  /** The client, which stays yours to close. */
  client: ThreadClient;
  /** The agent that the chats talk to. */
  agentId: string;
}

type SendOptions<UI extends UIMessage> = Parameters<ChatTransport<UI>['sendMessages']>[0];

/**
 * Lets `useChat` of the AI SDK talk to an agent. The chat's id is the context of the thread. Only the last message is
 * sent, because the agent knows the ones before it. Aborting a request does not cancel the turn: `stop` does.
 */
export class ThreadChatTransport<UI extends UIMessage = UIMessage> implements ChatTransport<UI> {
  /** A resumed stream begins with `start` again, under the same message id. */
  readonly resumeStreamIsReplay = true;
  readonly #client: ThreadClient;
  readonly #agentId: string;

  constructor({ client, agentId }: ThreadChatTransportOptions) {
    this.#client = client;
    this.#agentId = agentId;
  }

  /** Rejects with `UnsupportedTriggerError` for anything but a new message of the user. */
  async sendMessages({ trigger, chatId, messages }: SendOptions<UI>): Promise<ReadableStream<UIMessageChunk>> {
    const last = messages.at(-1);
    if (trigger !== 'submit-message') {
      throw new UnsupportedTriggerError('An agent cannot answer again: send a new message instead');
    }
    if (last?.role !== 'user') throw new UnsupportedTriggerError('The last message is not one of the user');
    return streamOf(this.#client.send(this.#agentId, messageOf(last), { stream: true, contextId: chatId }));
  }

  /** The answer that is under way, from its beginning; null if there is none. */
  async reconnectToStream({ chatId }: { chatId: string }): Promise<ReadableStream<UIMessageChunk> | null> {
    const turn = this.#pending(chatId).at(-1);
    return turn === undefined ? null : streamOf(turn);
  }

  /** Cancels what the agent is answering in a chat. */
  stop(chatId: string): void {
    for (const turn of this.#pending(chatId)) turn.cancel();
  }

  #pending(chatId: string): Turn[] {
    return this.#client.pending().filter(({ agentId, contextId }) => agentId === this.#agentId && contextId === chatId);
  }
}

function messageOf({ parts }: UIMessage): ArcMessage {
  return { role: 'user', parts: parts.map(partOf).filter((part) => part !== undefined) };
}

function partOf(part: UIMessage['parts'][number]): ArcPart | undefined {
  if (part.type === 'text') return { type: 'text', content: part.text };
  if (part.type === 'file') return { type: 'file', content: part.url, mimeType: part.mediaType };
  return part.type.startsWith('data-') && 'data' in part ? { type: 'data', content: part.data } : undefined;
}

/** Leaving the stream does not cancel the turn. */
function streamOf(turn: Turn): ReadableStream<UIMessageChunk> {
  const chunks = chunksOf(turn);
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel() {
      // Not awaited: it takes effect with the next piece.
      chunks.return().catch(() => {});
    },
  });
}

async function* chunksOf(turn: Turn): AsyncGenerator<UIMessageChunk, void, undefined> {
  const id = 'text';
  let hasText = false;
  yield { type: 'start', messageId: turn.id };
  try {
    for await (const piece of turn) {
      if (piece.text !== '') {
        if (!hasText) yield { type: 'text-start', id };
        hasText = true;
        yield { type: 'text-delta', id, delta: piece.text };
      }
      if (piece.type === 'event' || piece.type === 'metadata') yield dataOf(piece);
      else yield* otherPartsOf(piece);
    }
  } catch (error) {
    if (hasText) yield { type: 'text-end', id };
    if (error instanceof CancelledError) yield { type: 'abort' };
    else yield { type: 'error', errorText: error instanceof Error ? error.message : String(error) };
    return;
  }
  if (hasText) yield { type: 'text-end', id };
  yield { type: 'finish', ...(turn.restarted && { messageMetadata: { restarted: true } }) };
}

/** What an agent says beside text stays in the message: files as such, anything else as data under the name of its type. */
function* otherPartsOf({ data }: Piece): Generator<UIMessageChunk> {
  for (const part of partsOf(data) ?? []) {
    const { type, content, mimeType } = part;
    if (type === 'text' || type === 'TextPart') continue;
    const isFile = /^file/i.test(type) && typeof content === 'string' && typeof mimeType === 'string';
    yield isFile
      ? { type: 'file', url: content, mediaType: mimeType }
      : { type: `data-${type}`, data: content ?? part };
  }
}

function dataOf({ type, event, data }: Piece): UIMessageChunk {
  return { type: `data-${event ?? type}`, data, transient: true };
}
