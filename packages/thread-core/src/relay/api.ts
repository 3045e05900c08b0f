import type { IncomingMessage } from 'node:http';
import type { ArcMessage, MessageFrame } from '@arc/thread-protocol';
import type { ArcClient, ArcClientOptions } from '../client/arc-client.js';
import type { HeadersOption } from '../client/request-headers.js';
import type { Callback } from '../hooks.js';
import type { Logger } from '../logger.js';
import type { ChatOutcome } from '../threads/ending.js';
import type { ThreadEntry } from '../threads/store.js';
import type { ThreadManager } from '../threads/thread-manager.js';
import type { BusyPolicy } from '../threads/thread-queue.js';
import type { IdentityOptions } from './admission/identity.js';
import type { OriginCheck } from './admission/origin.js';
import type { RefusalReport } from './admission/refusal.js';
import type { ClusterOptions } from './cluster/cluster-options.js';
import type { FrameRejection } from './monitoring/rejection.js';

export type MaybePromise<T> = T | Promise<T>;

/** One client of the relay: its identity, its threads and its pending sends. */
export interface Session<Identity = unknown> {
  /** Identifies the session in logs. Not a secret. */
  readonly id: string;
  /** The HTTP request of the connection. Undefined while a resumable session has none. */
  readonly request: IncomingMessage | undefined;
  /** What `authenticate` returned for the latest connection, or what the host passed to `attach`. Undefined until it is known. */
  readonly identity: Identity;
  /** The chats of this session. When it has ended, `sendToAgent` rejects with an AbortError. */
  readonly threads: ThreadManager;
  /** Sends that run or wait. */
  readonly pending: number;
  /** Resolves when the connection is closed and every chat has been ended, or could not be. It never rejects. */
  readonly closed: Promise<ChatOutcome[]>;
  /**
   * Closes the connection and ends the chats. A reason longer than 123 bytes is cut.
   * @throws TypeError if `code` is not one that a server may send: 1000 to 1014 or 3000 to 4999
   */
  close(code?: number, reason?: string): void;
}

/** What a host that calls `relay.attach` knows about the connection. */
export interface AttachOptions<Identity = unknown, Context = unknown> {
  /** The identity of the client, if it is already known. Then neither `authenticate` nor the check of the origin runs. */
  identity?: Identity;
  /** Passed to `authenticate`: the framework's own request object. */
  context?: Context;
  /** The host that the client asked for, if the framework knows it better than the Host header. */
  host?: string | undefined;
  /** A client to the agents for this session, instead of the relay's. */
  client?: ArcClient;
}

/** The frame that ended a send. */
export type SendState = 'response' | 'done' | 'error' | 'cancelled';

/** How a send ended. */
export interface SendSummary {
  /** The `id` of the message frame. */
  id: string | number | undefined;
  /** Undefined if the message was cancelled before `route` had named an agent. */
  agentId: string | undefined;
  contextId: string | undefined;
  traceId: string | undefined;
  /** The agent's chat. Undefined if the send never reached a chat. */
  chatId: string | undefined;
  state: SendState;
  /** The agent had lost the chat, and answered in a new one. */
  restarted: boolean;
  /** With state `error`: what happened. The client may have got less detail. */
  error: unknown;
  /** Milliseconds from the message frame to the frame that ended the send. */
  duration: number;
  /** Milliseconds from the message frame to the first frame of the answer. Undefined if there was none. */
  timeToFirstPiece: number | undefined;
}

/** What was said in one send: the client's message, and the text of the agent's answer. */
export interface SpokenTurn {
  /** The `id` of the message frame. */
  id: string | number | undefined;
  agentId: string;
  contextId: string | undefined;
  /** The agent's chat. Undefined if the send never reached a chat. */
  chatId: string | undefined;
  message: ArcMessage;
  /** The text of the answer, as far as it arrived: of a send that failed or was cancelled, the part before that. */
  answer: string;
  /** The answer is longer than `maxResponseBytes`, and `answer` is its beginning. */
  truncated: boolean;
  /** How the send ended. */
  state: SendState;
}

/** A send that starts: it has passed all checks, and is sent to its agent or queued. */
export type SendStart = Pick<SendSummary, 'id' | 'agentId' | 'contextId' | 'traceId'>;

/** Resumable sessions: a session that loses its connection waits for the client to come back. */
export interface ResumeOptions {
  /** Milliseconds that a session waits for another connection before it ends. Default 120,000. */
  grace?: number | undefined;
  /** Bytes of frames that one session keeps until they are acknowledged; beyond it, its agents are not read. Default 1 MiB. */
  maxBufferedBytes?: number | undefined;
  /** Sessions without a connection. Beyond it, the oldest of the identity (or address) that has most ends. Default 10,000. */
  maxDetached?: number | undefined;
  /**
   * Bytes that they keep together: frames for their clients, and messages of these that are not answered. Beyond it, the oldest
   * of the identity (or address) that keeps most ends. Default 256 MiB.
   */
  maxDetachedBytes?: number | undefined;
}

/** `ResumeOptions` with their defaults. */
export type ResumeConfig = Readonly<Record<keyof ResumeOptions, number>>;

/** Called by the relay as things happen. A hook that throws or rejects is logged, and changes nothing. */
export interface RelayHooks<Identity = unknown> {
  /** A connection was admitted. */
  onOpen?(session: Session<Identity>): void;
  /** A connection was refused, before the upgrade or after it. */
  onRefuse?(refusal: RefusalReport): void;
  /** A session ended: its connection is closed and its chats are ended, or could not be. */
  onClose?(session: Session<Identity>, outcomes: ChatOutcome[]): void;
  /** A resumable session has lost its connection, and waits for another one. */
  onDetach?(session: Session<Identity>): void;
  /** A resumable session has a new connection. `onOpen` was called for that with another session, which ends now. */
  onResume?(session: Session<Identity>): void;
  /** A chat.start is sent. */
  onStart?(session: Session<Identity>, thread: ThreadEntry): void;
  /** A chat.start is sent to replace a chat that the agent had lost. */
  onRestart?(session: Session<Identity>, thread: ThreadEntry): void;
  /** A chat was ended, or could not be. */
  onEnd?(session: Session<Identity>, outcome: ChatOutcome): void;
  /** A frame was answered with an error, and nothing is sent to an agent for it. Of such a message no other hook tells. */
  onReject?(session: Session<Identity>, rejection: FrameRejection): void;
  /** A message frame passed all checks and is about to be sent or queued. */
  onSendStart?(session: Session<Identity>, send: SendStart): void;
  /** The last frame of a send was written. */
  onSend?(session: Session<Identity>, send: SendSummary): void;
  /** As `onSend`, with what was said: for a history of conversations. Answers are collected only if this hook is given. */
  onTurn?(session: Session<Identity>, turn: SpokenTurn): void;
}

/** Where the agents are: a relay needs one of these. */
export type AgentSource = { endpoint: ArcClientOptions['endpoint'] | undefined } | { client: ArcClient | undefined };

/**
 * `Identity` is inferred from `authenticate`; `Context` is what the host passes to it. Times are milliseconds, sizes are
 * bytes.
 */
export interface RelayOptions<Identity = unknown, Context = unknown> {
  /**
   * The client to the agents. The application closes it. Without it the relay makes one of the options from
   * `endpoint` to `maxEventBytes`, and closes it with itself. Default: none.
   */
  client?: ArcClient | undefined;
  /**
   * The agents' address: a URL, or a function from agent id to URL. The client chooses the id, so check it: use a table, or
   * the option `agents`. `../../admin` is an id, too, and a host in a URL that is built from one is any host.
   */
  endpoint?: ArcClientOptions['endpoint'] | undefined;
  /** The token for the agents, shared by all sessions: a string, or a function, called again when an agent rejects its token. Default: none. */
  token?: ArcClientOptions['token'];
  /** Returns the token for the agents of one session. It is called again when an agent rejects the token. Default: none. */
  sessionToken?: Callback<[session: Session<Identity>], MaybePromise<string>> | undefined;
  /** The name of this side in ARC's `requestAgent`. Default `arc-threads`. */
  requestAgent?: ArcClientOptions['requestAgent'];
  /** Headers of every request to an agent, or a function of the request. They replace the relay's of the same name. Default: none. */
  headers?: HeadersOption<Session<Identity>> | undefined;
  /** Any undici dispatcher (Agent, ProxyAgent, …). Its owner closes it. Default: connections of the relay's own. */
  dispatcher?: ArcClientOptions['dispatcher'];
  /**
   * Cookies that an agent sets in a chat are sent with the later requests of that chat: all, or those with these names.
   * Default false.
   */
  cookies?: ArcClientOptions['cookies'];
  /** How long an idle connection to an agent is kept. It must be less than the agent's server keeps it. Default 1,500 ms. */
  keepAliveTimeout?: number | undefined;
  /** Size of an answer that is not a stream, after decompression. A larger one is -45004. Default 16 MiB. */
  maxResponseBytes?: number | undefined;
  /** Size of one event of a stream, after decompression. A larger one is -45004. Default 16 MiB. */
  maxEventBytes?: number | undefined;

  /** Agents that clients may talk to: ids, or a function that decides. Others are answered with -44002. Default: all. */
  agents?: readonly string[] | ReadonlySet<string> | ((agentId: string) => boolean) | undefined;
  /** Whether this identity may send this frame to this agent. Anything but `true` is answered with -44002. Default: yes. */
  authorize?: Callback<[identity: Identity, agentId: string, frame: MessageFrame], MaybePromise<boolean>> | undefined;
  /** Chooses the agent of a frame that has no `agent_id`. Default: such frames are answered with -32600. */
  route?: Callback<[frame: MessageFrame, session: Session<Identity>], MaybePromise<string | undefined>> | undefined;
  /**
   * Returns the identity of a connection. Null, undefined or false refuse it with 401. An error refuses it with
   * the error's `statusCode` and, below 500, its message.
   * `context` is the framework's own request: Fastify's request, Express's req, Koa's ctx. Default: everyone is admitted.
   */
  authenticate?:
    | Callback<[request: IncomingMessage, context: Context], MaybePromise<Identity | null | undefined | false>>
    | undefined;
  /** Time for `authenticate` to settle before the connection is refused with 503. 0: no limit. Default 10,000. */
  authenticateTimeout?: number | undefined;
  /**
   * Hosts that clients may name in their Host header, with or without a port; a name without a port stands for every
   * port. Others are refused with 403, before any other check. It protects a server on a loopback address from
   * DNS rebinding: a web page whose own name is made to point to 127.0.0.1. Default: all.
   */
  allowedHosts?: readonly string[] | undefined;
  /**
   * Origins of pages beside the server's own, such as `https://example.com` or `capacitor://localhost`, or a function
   * that decides alone. Clients that send no Origin are accepted. Default: only the server's own origin.
   */
  allowedOrigins?: readonly string[] | OriginCheck | undefined;
  /**
   * Take the server's own host from X-Forwarded-Host, where a proxy in front of it sets that header. In a framework, set
   * the framework's own option instead. Default false.
   */
  trustProxy?: boolean | undefined;
  /**
   * How connections are refused: `status` answers the upgrade with an HTTP status, `close` accepts it and closes with
   * 4401, 4403, 1011 or 1013, because browsers cannot see an HTTP status. Default `status`.
   */
  refuseWith?: 'status' | 'close' | undefined;
  /**
   * The subprotocols that are spoken here. The first that a client offers of them is selected; no other is ever echoed,
   * because clients offer tokens there. A browser closes the connection if none of its offers was selected: a page that
   * offers a token has to offer one of these, too. Default `['arc-thread.v1']`.
   */
  protocols?: readonly string[] | undefined;

  /** Keeps sessions whose connection is lost, for clients that ask for it. `true`: with the defaults. Default: off. */
  resume?: boolean | ResumeOptions | undefined;

  /** Whether to ask for a stream if a frame does not say. Default false. */
  stream?: boolean | undefined;
  /** `frames` wraps a whole answer in a `response` frame, `bare` sends the ARC envelope alone. Default `frames`. */
  replies?: 'frames' | 'bare' | undefined;
  /** What a new send does while another send of the same thread runs. Default `queue`. */
  busy?: BusyPolicy | undefined;

  /** Size of a client frame. A larger one closes the connection with 1009. Default 1 MiB. */
  maxFrameBytes?: number | undefined;
  /** Sends of one session that run or wait. One more is answered with -44007. Default 32. */
  maxPending?: number | undefined;
  /**
   * Size of all frames that the relay keeps for one session: those that wait for their turn, and the messages and `end`
   * frames whose answers are pending. A frame beyond it is answered with -44007. Before a connection is admitted the limit is 64 KiB.
   * Default 4 MiB, or `maxFrameBytes` if that is larger.
   */
  maxPendingBytes?: number | undefined;
  /** Threads of one session. One more is answered with -44007. Default 64. */
  maxThreads?: number | undefined;
  /** Sessions at once. One more is refused with 503 or 1013. Default: no limit. */
  maxSessions?: number | undefined;
  /** Nesting depth of objects and arrays in a message frame, the frame included. A deeper one is -32600. Default 64. */
  maxFrameDepth?: number | undefined;
  /** Bytes that wait for a slow client before the relay stops reading its agents. Default 1 MiB. */
  maxBufferedBytes?: number | undefined;
  /**
   * Frames per second and session: a token bucket of this size, refilled at this rate. A frame beyond it is answered
   * with -44007. Default: no limit.
   */
  frameRate?: number | undefined;
  /** Invalid or rejected frames in a row that close the connection with 4429. Default 16. */
  maxBadFrames?: number | undefined;

  /** Time between two pings. A client that sends nothing until the next ping is disconnected. 0: no pings. Default 25,000. */
  heartbeat?: number | undefined;
  /** Time without a frame in either direction and without pending sends before close code 4408. 0: no limit. Default 0. */
  idleTimeout?: number | undefined;
  /**
   * Time after which a client must be authenticated again: its session ends with 4401. A client that resumes the session
   * on a new connection is authenticated for that, and the time begins again. 0: no limit. Default 0.
   */
  maxSessionAge?: number | undefined;
  /** Time to the first byte of a stream, or the end of any other answer, before -41006. 0: no limit. Default 60,000. */
  sendTimeout?: number | undefined;
  /** Time between two chunks of a stream before -43104. 0: no limit. Default 60,000. */
  streamIdleTimeout?: number | undefined;
  /** Time from the first to the last byte of a stream before -43104. 0: no limit. Default 0. */
  streamTimeout?: number | undefined;
  /** Time that more than `maxBufferedBytes` may wait for a slow client before its session ends. 0: no limit. Default 60,000. */
  stalledTimeout?: number | undefined;
  /**
   * What happens to pending sends when the client disconnects: `cancel` closes the requests to the agents at once,
   * `finish` lets them end, unheard, before the chats are ended. Default `cancel`.
   */
  onDisconnect?: 'cancel' | 'finish' | undefined;
  /** Time for pending sends to end when the relay is closed. Default 5,000. */
  drainTimeout?: number | undefined;
  /** Time to end the chats of a session, retries included. Default 5,000. */
  cleanupTimeout?: number | undefined;

  /** How identities are distinguished, and stored in a cluster. Default: by their `id` or `sub`. */
  identity?: IdentityOptions<Identity> | undefined;
  /** Makes this relay a node of a cluster: its chats are ended by others if this process dies. Default: no cluster. */
  cluster?: ClusterOptions | undefined;

  /** Default: nothing is logged. */
  logger?: Logger | undefined;
  /** Called as things happen. Default: none. */
  hooks?: RelayHooks<Identity> | undefined;
}
