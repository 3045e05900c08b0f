import type { ArcMessage, MessageFrame } from '@arc/thread-protocol';
import type { SendRequest, TraceContext } from '../../threads/send-request.js';
import type { RelayConfig } from '../options.js';

/**
 * The request of one message frame. It keeps the frame's text, and the parsed frame only until `dropParsed`: a message
 * that waits, or has to be sent again in a new chat, is parsed once more.
 */
export class MessageRequest implements SendRequest {
  readonly agentId: string;
  readonly contextId: string | undefined;
  readonly traceId: string | undefined;
  readonly stream: boolean | undefined;
  readonly #config: RelayConfig;
  /** The frame, as it was received. */
  readonly text: string;
  readonly #hasMetadata: boolean;
  #frame: MessageFrame | undefined;

  constructor(config: RelayConfig, agentId: string, frame: MessageFrame, text: string) {
    this.agentId = agentId;
    this.contextId = frame.context_id;
    this.traceId = frame.trace_id;
    this.stream = (frame.stream ?? config.stream) || undefined;
    this.#config = config;
    this.text = text;
    this.#hasMetadata = frame.metadata !== undefined;
    this.#frame = frame;
  }

  get message(): ArcMessage {
    return this.#read().message as ArcMessage;
  }

  get metadata(): Record<string, unknown> | undefined {
    return this.#hasMetadata ? (this.#read().metadata as Record<string, unknown>) : undefined;
  }

  /** Read only if somebody subscribes to the tracing channel `arc.send`. */
  get traceContext(): TraceContext {
    const { traceparent, tracestate, baggage } = this.#read();
    return { traceparent, tracestate, baggage };
  }

  get timeout(): number {
    return this.#config.sendTimeout;
  }

  get streamIdleTimeout(): number {
    return this.#config.streamIdleTimeout;
  }

  get streamTimeout(): number {
    return this.#config.streamTimeout;
  }

  dropParsed(): void {
    this.#frame = undefined;
  }

  #read(): MessageFrame {
    return this.#frame ?? (JSON.parse(this.text) as MessageFrame);
  }
}
