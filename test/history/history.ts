import type { RelayFrame } from '@arc/thread-protocol';

/** Why a send of a client may end in another way than with its answer. */
export type Excuse =
  /** Its thread was ended. */
  | 'end'
  /** Somebody else resumed the session. */
  | 'stolen'
  /** The grace period may have run out. */
  | 'expiry'
  /** The application closed the client. */
  | 'closed'
  /** A node that may have owned the session was killed, frozen, or shut down. */
  | 'crash'
  /** The store was away for a lease while clients went to other nodes: their owners were alive, and their leases were over. */
  | 'lapse'
  /** The store was away, or has lost data that its owners still have. */
  | 'store'
  /** The store has lost its data while nodes were dead. */
  | 'data';

/** How a send ended for the application, and when, on the clock of `sentAt`. */
type Outcome = { readonly at: number } & (
  | { type: 'done'; restarted: boolean }
  | { type: 'failed'; error: string; code: string | number; reason: string }
);

/** A message that an application has sent, and how it ended for the application. */
export interface SendRecord {
  readonly type: 'send';
  /** The text that the message begins with. No other message of the history has it. */
  readonly label: string;
  /** The id of its frames. */
  readonly id: string;
  readonly thread: string;
  /** Milliseconds, by `performance.now()`. */
  readonly sentAt: number;
  /** The texts of all pieces that its answer has. */
  readonly expected: readonly string[];
  readonly heard: string[];
  readonly excuses: Set<Excuse>;
  cancelled: boolean;
  readonly outcomes: Outcome[];
}

/** A frame of the relay, as it arrived on a socket. */
interface WireRecord {
  /** Milliseconds, as `sentAt`. */
  readonly at: number;
  /** The number of the socket. */
  readonly socket: number;
  /** When the client asked for a session on this socket. */
  readonly askedAt: number;
  /** The cursor that the client had sent on this socket. */
  readonly cursor: number;
  readonly frame: RelayFrame;
  readonly text: string;
}

/** What one client did and saw. */
export interface ClientRecord {
  readonly name: string;
  /** What the ids of its frames begin with. */
  prefix: string | undefined;
  /** What it did, in order. `lost`: the session with all its threads is gone. */
  readonly log: (SendRecord | { readonly type: 'end'; readonly thread: string } | { readonly type: 'lost' })[];
  readonly wire: WireRecord[];
}

/** A message that an agent has been given. Those of a history are in the order in which agents got them. */
export interface ReachedRecord {
  readonly label: string;
  readonly chatId: string;
  /** When this process was told of it, in milliseconds as `sentAt`. It was earlier. */
  readonly at?: number;
}

/** A time in which the store was away. Milliseconds, as `sentAt`. */
export interface OutageRecord {
  readonly goneAt: number;
  /** Until then open threads continue on every node. */
  readonly openUntil: number;
  /** From then on no node resumes a session. */
  readonly lapsedAt: number;
  /** From then on no node sends a message to an agent. */
  readonly silentAt: number;
  /** It was away until then, or for longer. */
  readonly backAt: number;
}

/** What somebody was told who asked for the session of another client, with a secret that is wrong. */
export interface IntrusionRecord {
  /** How he came by the secret. */
  readonly secret: string;
  readonly answers: RelayFrame[];
  /** The close code. */
  code: number | undefined;
}

/** Everything that was recorded in one play. The checker judges this, and nothing else. */
export interface History {
  readonly clients: ClientRecord[];
  readonly reached: ReachedRecord[];
  readonly outages: OutageRecord[];
  readonly intrusions: IntrusionRecord[];
  /** What was left when all clients had left, by name: chats, sessions, keys. */
  readonly left: Record<string, number>;
  /** What no process may have: unhandled rejections, errors in the log. */
  readonly failures: string[];
}

export function createHistory(): History {
  return { clients: [], reached: [], outages: [], intrusions: [], left: {}, failures: [] };
}

export function sendsOf({ log }: ClientRecord): SendRecord[] {
  return log.filter((entry) => entry.type === 'send');
}
