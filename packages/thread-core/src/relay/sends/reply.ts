import { type Bytes, encode, flatten } from '../../bytes.js';
import type { StreamEvent } from '../../client/event.js';
import { readAgentError } from '../../protocol/errors.js';
import type { Send, SendListener, SendRequest } from '../../threads/send.js';
import type { SendState, SendSummary } from '../api.js';
import { type FrameEcho, writeEcho } from '../frames/frame-echo.js';

/** Where the frames of a reply are written. */
export interface ReplyOutput {
  /** What a frame begins with: `{`, or nothing in a resumable session, which writes `{` and the frame's number before it. */
  readonly frameStart: '{' | '';
  /** Writes a frame, together with what follows in this turn of the event loop. */
  write(frame: Bytes): void;
  /** Writes a frame without its beginning. */
  writeMembers(members: Bytes): void;
  writeError(error: unknown, echo: Bytes): void;
}

/** What a reply needs of its creator. */
export interface ReplyOwner {
  /** Whole answers are the ARC envelope alone, without a frame around it. */
  readonly bare: boolean;
  /** Whether `timeToFirstPiece` is measured. */
  readonly isTimed: boolean;
  /** The last frame of the send was written. */
  onSettled(reply: Reply, state: SendState, error?: unknown): void;
}

/** What a reply answers. */
export type ReplySubject = Pick<SendRequest, 'contextId' | 'traceId'> & { agentId: string | undefined };

/** Answers one message frame. Exactly one of response, done, error and cancelled is its last frame. */
export class Reply implements SendListener {
  readonly id: string | number | undefined;
  /** Size of the frame that it answers. */
  readonly bytes: number;
  send: Send | undefined;
  readonly #output: ReplyOutput;
  readonly #owner: ReplyOwner;
  readonly #subject: ReplySubject;
  readonly #echo: Bytes;
  /** The beginning of each content frame. */
  #content: Bytes | undefined;
  /** Times by the monotonic clock, if they are wanted. */
  readonly #startedAt: number;
  #firstPieceAt: number | undefined;

  constructor(output: ReplyOutput, owner: ReplyOwner, subject: ReplySubject, echo: FrameEcho, bytes: number) {
    this.#output = output;
    this.#owner = owner;
    this.#subject = subject;
    this.id = echo.id;
    this.bytes = bytes;
    this.#echo = writeEcho(echo);
    this.#startedAt = owner.isTimed ? performance.now() : 0;
  }

  onResponse(text: Bytes): void {
    this.#notePiece();
    if (this.#owner.bare) this.#output.write(text);
    else this.#output.writeMembers(`"type":"response"${this.#echo}${this.#restarted()},"response":${text}}` as Bytes);
    this.#owner.onSettled(this, 'response');
  }

  onEvent(answer: StreamEvent): void {
    const { event, bytes } = answer;
    if (this.#firstPieceAt === undefined && event !== 'error') this.#notePiece();
    if (event === 'content') {
      this.#content ??= flatten(`${this.#output.frameStart}"type":"content"${this.#echo},"data":` as Bytes);
      this.#output.write(`${this.#content}${bytes}}` as Bytes);
    } else if (event === 'metadata') {
      this.#output.writeMembers(`"type":"metadata"${this.#echo},"data":${bytes}}` as Bytes);
    } else if (event === 'done') {
      this.#output.writeMembers(`"type":"done"${this.#echo}${this.#restarted()},"data":${bytes}}` as Bytes);
      this.#owner.onSettled(this, 'done');
    } else if (event === 'error') {
      this.onError(readAgentError(answer.data, {}));
    } else {
      this.#output.writeMembers(
        `"type":"event"${this.#echo},"event":${encode(JSON.stringify(event))},"data":${bytes}}` as Bytes,
      );
    }
  }

  onError(error: unknown): void {
    this.#output.writeError(error, `${this.#echo}${this.#restarted()}` as Bytes);
    this.#owner.onSettled(this, 'error', error);
  }

  onCancelled(): void {
    this.#output.writeMembers(`"type":"cancelled"${this.#echo}${this.#restarted()}}` as Bytes);
    this.#owner.onSettled(this, 'cancelled');
  }

  get isWaiting(): boolean {
    return this.send?.isWaiting === true;
  }

  summarize(state: SendState, error: unknown): SendSummary {
    const { agentId, contextId, traceId } = this.#subject;
    return {
      id: this.id,
      agentId,
      contextId,
      traceId,
      chatId: this.send?.chatId,
      state,
      restarted: this.send?.restarted === true,
      error,
      duration: performance.now() - this.#startedAt,
      timeToFirstPiece: this.#firstPieceAt === undefined ? undefined : this.#firstPieceAt - this.#startedAt,
    };
  }

  #notePiece(): void {
    if (this.#owner.isTimed) this.#firstPieceAt ??= performance.now();
  }

  #restarted(): string {
    return this.send?.restarted ? ',"restarted":true' : '';
  }
}
