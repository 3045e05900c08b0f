import type { ResumedProgress } from '../resume/ready-frame.js';
import type { JournalSlice, Ownership, StoredSession } from '../store/session-store.js';

/** A client asks for a session that this node does not have. No interface, so that it counts as JSON. */
export type ResumeRequest = {
  readonly sid: string;
  readonly secretHash: string;
  readonly identityKey: string;
  /** The number of the last frame that the client has seen. */
  readonly seq: number;
  /** How many frames it has sent. */
  readonly sent: number;
  /** Milliseconds since it asked. Nodes of an older build do not say it. */
  readonly waited?: number;
  /** The id of the question, and of the last one for this client to which the owner's answer has come. Nodes of an older build say neither. */
  readonly ask?: string;
  readonly answered?: string;
};

/** The session stays with its owner while something runs. The asking node forwards frames over a link. */
export interface GatewayOffer extends ResumedProgress {
  /** The id of the link. */
  readonly link: string;
}

/**
 * `moved`: the asking node owns the session now. `gap`, `expired`: it cannot be resumed. `replaced`: a newer connection
 * has resumed it. `retry`: the asked node does not have the session now, or could not hand it over.
 */
export type MoveAnswer = 'moved' | 'gap' | 'expired' | 'replaced' | 'retry' | GatewayOffer;

/** `local`: this node has the session now. `unavailable`: try again later. `unwanted`: the client has left. */
export type ResumeResult =
  | Exclude<MoveAnswer, 'moved' | 'retry' | GatewayOffer>
  | (GatewayOffer & { readonly owner: string })
  | 'local'
  | 'unknown'
  | 'forbidden'
  | 'unavailable'
  | 'unwanted';

/** A session that was taken over from another node, or from the store. */
export interface ClaimedSession {
  readonly owned: Ownership;
  readonly session: StoredSession;
  /** What the client has not acknowledged, as far as the store has it. */
  readonly journal: JournalSlice | undefined;
  readonly request: ResumeRequest;
}

/** Asks the owner of a session for it. */
export interface MoveMessage {
  type: 'move';
  from: string;
  ask: string;
  request: ResumeRequest;
}

/** Its answer, with the request. */
export interface AnswerMessage {
  type: 'move-answer';
  ask: string;
  answer: MoveAnswer;
  request: ResumeRequest;
}

export type MovesMessage = MoveMessage | AnswerMessage;
