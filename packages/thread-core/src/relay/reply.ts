import { type Bytes, encode, whole } from '../bytes.js';
import type { StreamEvent } from '../client/event.js';
import { readAgentError } from '../protocol/errors.js';
import type { Send, SendListener } from '../threads/send.js';
import { quote } from '../values.js';
import type { FrameEcho, MessageFrame } from './frames.js';
import type { Session } from './session.js';

/** Writes what an answer repeats of its frame, each field with a comma before it. */
export function writeEcho({ id, agent_id, context_id, trace_id }: FrameEcho): Bytes {
  let echo = '';
  if (id !== undefined) echo += `,"id":${typeof id === 'string' ? quote(id) : id}`;
  if (agent_id !== undefined) echo += `,"agent_id":${quote(agent_id)}`;
  if (context_id !== undefined) echo += `,"context_id":${quote(context_id)}`;
  if (trace_id !== undefined) echo += `,"trace_id":${quote(trace_id)}`;
  return encode(echo);
}

/** Answers one message frame: exactly one of response, done, error and cancelled is its last frame. */
export class Reply implements SendListener {
  readonly frame: MessageFrame;
  send: Send | undefined;
  readonly #session: Session;
  readonly #echo: Bytes;
  /** How a frame of content begins. */
  #content: Bytes | undefined;

  constructor(session: Session, frame: MessageFrame) {
    this.#session = session;
    this.frame = frame;
    this.#echo = writeEcho(frame);
  }

  onResponse(text: Bytes): void {
    this.#session.write(
      (this.#session.bare ? text : `{"type":"response"${this.#echo}${this.#restarted()},"response":${text}}`) as Bytes,
    );
    this.#session.ended(this, 'response');
  }

  onEvent(answer: StreamEvent): void {
    const { event, bytes } = answer;
    if (event === 'content') {
      this.#content ??= whole(`{"type":"content"${this.#echo},"data":` as Bytes);
      this.#session.writePart(`${this.#content}${bytes}}` as Bytes);
    } else if (event === 'metadata') {
      this.#session.writePart(`{"type":"metadata"${this.#echo},"data":${bytes}}` as Bytes);
    } else if (event === 'done') {
      this.#session.write(`{"type":"done"${this.#echo}${this.#restarted()},"data":${bytes}}` as Bytes);
      this.#session.ended(this, 'done');
    } else if (event === 'error') {
      this.onError(readAgentError(answer.data, {}));
    } else {
      this.#session.writePart(
        `{"type":"event"${this.#echo},"event":${encode(JSON.stringify(event))},"data":${bytes}}` as Bytes,
      );
    }
  }

  onError(error: unknown): void {
    this.#session.writeError(error, `${this.#echo}${this.#restarted()}` as Bytes);
    this.#session.ended(this, 'error', error);
  }

  onCancelled(): void {
    this.#session.writeSoon(`{"type":"cancelled"${this.#echo}${this.#restarted()}}` as Bytes);
    this.#session.ended(this, 'cancelled');
  }

  get restarted(): boolean {
    return this.send?.restarted === true;
  }

  #restarted(): string {
    return this.restarted ? ',"restarted":true' : '';
  }
}
