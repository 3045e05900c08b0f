/**
 * The frames between a WebSocket client and the relay, as PROTOCOL.md defines them. Each frame is one text message
 * with one JSON object. A receiver ignores fields that it does not know.
 */
import type { ArcChat, ArcEnvelope, ArcErrorObject, ArcMessage } from './arc.js';

/** A client's name for a frame: a string of 1 to 256 characters, or a safe integer. Answers repeat it. */
export type FrameId = string | number;

/** Sends a message to an agent. The first one of a thread starts a chat, later ones continue it. */
export interface MessageFrame {
  /** May be left out: a frame without `type` is a message. */
  type?: 'message';
  /** Required in a resumable session. */
  id?: FrameId;
  /** 1 to 256 characters. Optional only if the relay chooses the agent. */
  agent_id?: string;
  /** 1 to 256 characters. Separates several threads with the same agent. */
  context_id?: string;
  /** 1 to 256 characters. Passed to the agent as ARC's `traceId`. */
  trace_id?: string;
  message: ArcMessage;
  /** Asks for the answer piece by piece. Without it, the relay's option `stream` decides. */
  stream?: boolean;
  /** Passed to the agent with the first message of the thread. */
  metadata?: Record<string, unknown>;
  /** The span that the message belongs to, as W3C Trace Context writes it. An invalid one is ignored, as are the next two. */
  traceparent?: string;
  /** W3C `tracestate`. */
  tracestate?: string;
  /** W3C Baggage. */
  baggage?: string;
}

/** Abandons every pending send with this id. Each of them is answered with `cancelled`. */
export interface CancelFrame {
  type: 'cancel';
  id: FrameId;
}

/** Ends one thread, and the agent's chat with it. Answered with `ended`. */
export interface EndFrame {
  type: 'end';
  id?: FrameId;
  agent_id: string;
  context_id?: string;
  trace_id?: string;
  /** Passed to the agent. */
  reason?: string;
}

/** Answered with `pong`. */
export interface PingFrame {
  type: 'ping';
  id?: FrameId;
}

/** The first frame of a client that wants a new resumable session. Answered with `ready`. */
export interface NewSessionFrame {
  type: 'resume';
  session?: undefined;
  seq?: undefined;
  sent?: undefined;
}

/** The first frame on a new connection that continues a resumable session. Answered with `ready`. */
export interface ContinueSessionFrame {
  type: 'resume';
  /** The secret that `ready` gave. */
  session: string;
  /** The last `seq` that the client has received; 0 if none. */
  seq: number;
  /** How many frames the client has sent in this session: all but `resume`, `ack` and `ping`. */
  sent: number;
}

/** The first frame of a client that wants a resumable session: a new one, or the one that it had. */
export type ResumeFrame = NewSessionFrame | ContinueSessionFrame;

/**
 * Acknowledges frames, in both directions of a resumable session. To the relay: its frames up to and including `seq`
 * have arrived. To the client: that many of its frames have arrived.
 */
export interface AckFrame {
  type: 'ack';
  seq: number;
}

/** Every frame that a client may send. */
export type ClientFrame = MessageFrame | CancelFrame | EndFrame | PingFrame | ResumeFrame | AckFrame;

/** The fields that an answer repeats from the client frame that it answers, if that frame had them. */
export interface EchoedFields {
  id?: FrameId;
  agent_id?: string;
  context_id?: string;
  trace_id?: string;
}

/** In resumable sessions, the relay numbers its frames from 1: all but `ready`, `ack` and `pong`. */
export interface NumberedFields {
  seq?: number;
}

/** The fields of all frames about a message or an `end` frame. */
export interface AnswerFields extends EchoedFields, NumberedFields {}

/** The fields of the four frames that can end a send. */
export interface TerminalFields extends AnswerFields {
  /** The agent had lost the chat, and this answer comes from a new one that knows nothing of what was said before. */
  restarted?: true;
}

/** The result in an agent's envelope. Stateless agents leave out `chat`. */
export interface AnswerResult {
  type?: string;
  chat?: ArcChat;
  [field: string]: unknown;
}

/** The whole answer: the agent's envelope, unchanged. Ends the send. */
export interface ResponseFrame extends TerminalFields {
  type: 'response';
  response: ArcEnvelope<AnswerResult>;
}

/** One piece of a streamed answer. `data` is the agent's event data, unchanged; `textOf(data)` is its text. */
export interface ContentFrame extends AnswerFields {
  type: 'content';
  data: unknown;
}

/** What the agent says about its answer. */
export interface MetadataFrame extends AnswerFields {
  type: 'metadata';
  data: unknown;
}

/** A streamed event of any other name. */
export interface EventFrame extends AnswerFields {
  type: 'event';
  event: string;
  data: unknown;
}

/** The streamed answer is complete. Ends the send. */
export interface DoneFrame extends TerminalFields {
  type: 'done';
  data: unknown;
}

/** The send failed, or the frame that is named by the echoed fields did. Ends the send. */
export interface ErrorFrame extends TerminalFields {
  type: 'error';
  data: ArcErrorObject;
}

/** The send was abandoned. Ends the send. */
export interface CancelledFrame extends TerminalFields {
  type: 'cancelled';
}

/** Answers `end`. */
export interface EndedFrame extends AnswerFields {
  type: 'ended';
  /** The agent's envelope, if it sent one. */
  response?: ArcEnvelope;
}

/** Answers `ping`. */
export interface PongFrame {
  type: 'pong';
  id?: FrameId;
}

/** How often the relay expects an `ack`: after that many frames, that many bytes, or that much time. */
export interface AckPolicy {
  frames: number;
  bytes: number;
  ms: number;
}

/** Why a session could not be continued. */
export type NotResumedReason = 'expired' | 'unknown' | 'gap' | 'forbidden';

/** The fields of both forms of `ready`. */
interface ReadyFields {
  type: 'ready';
  /** The secret with which the session can be continued on another connection. */
  session: string;
  /** How long the relay keeps the session without a connection, in milliseconds. */
  grace_ms: number;
  ack: AckPolicy;
}

/** A new resumable session. With `reason`, it replaces the one that the client asked for. */
export interface NewSessionReadyFrame extends ReadyFields {
  resumed?: false;
  seq: 0;
  got: 0;
  reason?: NotResumedReason;
  /**
   * With `expired`: how many frames of the client had arrived when the session ended. The later ones never arrived, and
   * may be sent in this session.
   */
  received?: number;
}

/** The session continues. The frames that the client has not seen follow, up to and including `seq`. */
export interface ResumedReadyFrame extends ReadyFields {
  resumed: true;
  /** The number of the last frame of the replay. */
  seq: number;
  /** How many frames of the client have arrived. It sends the later ones again. */
  got: number;
  /** The ids of the messages and `end` frames that are not answered yet. */
  pending: FrameId[];
}

/** Answers `resume`. */
export type ReadyFrame = NewSessionReadyFrame | ResumedReadyFrame;

/** The frames that can end a send. Exactly one of them does, and no frame for that send follows it. */
export type TerminalFrame = ResponseFrame | DoneFrame | ErrorFrame | CancelledFrame;

/** Every frame that the relay sends, but for the bare envelopes of a relay with `replies: 'bare'`. */
export type RelayFrame =
  | ResponseFrame
  | ContentFrame
  | MetadataFrame
  | EventFrame
  | DoneFrame
  | ErrorFrame
  | CancelledFrame
  | EndedFrame
  | PongFrame
  | ReadyFrame
  | AckFrame;
