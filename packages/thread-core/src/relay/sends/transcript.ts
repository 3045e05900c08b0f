import { type ArcEnvelope, type ArcMessage, textOf } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import type { StreamEvent } from '../../client/event.js';
import type { SendListener } from '../../threads/send-request.js';
import type { SendState, SpokenTurn } from '../api.js';

/** The reply that a transcript is of. */
interface TranscribedReply extends SendListener {
  readonly id: string | number | undefined;
  readonly send: { readonly chatId: string | undefined } | undefined;
}

/** Collects what is said in one send, and passes all of it on. Exists only if somebody wants turns. */
export class Transcript implements SendListener {
  readonly #reply: TranscribedReply;
  readonly #request: { readonly agentId: string; readonly contextId: string | undefined; readonly message: ArcMessage };
  readonly #maxLength: number;
  readonly #onTurn: (turn: SpokenTurn) => void;
  #answer = '';
  #truncated = false;

  constructor(
    reply: TranscribedReply,
    request: { readonly agentId: string; readonly contextId: string | undefined; readonly message: ArcMessage },
    maxLength: number,
    onTurn: (turn: SpokenTurn) => void,
  ) {
    this.#reply = reply;
    this.#request = request;
    this.#maxLength = maxLength;
    this.#onTurn = onTurn;
  }

  onResponse(text: Bytes, envelope: ArcEnvelope): void {
    this.#add(textOf(envelope));
    this.#reply.onResponse(text, envelope);
    this.#end('response');
  }

  onEvent(event: StreamEvent): void {
    if (event.event === 'content') this.#add(textOf(event.data));
    this.#reply.onEvent(event);
    if (event.event === 'done' || event.event === 'error') this.#end(event.event);
  }

  onError(error: unknown): void {
    this.#reply.onError(error);
    this.#end('error');
  }

  onCancelled(reason: unknown): void {
    this.#reply.onCancelled(reason);
    this.#end('cancelled');
  }

  #add(text: string): void {
    const room = this.#maxLength - this.#answer.length;
    this.#answer += text.length > room ? text.slice(0, room) : text;
    this.#truncated ||= text.length > room;
  }

  #end(state: SendState): void {
    const { agentId, contextId, message } = this.#request;
    const { id, send } = this.#reply;
    const [answer, truncated] = [this.#answer, this.#truncated];
    this.#onTurn({ id, agentId, contextId, chatId: send?.chatId, message, answer, truncated, state });
  }
}
