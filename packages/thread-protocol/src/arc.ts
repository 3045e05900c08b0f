/**
 * The ARC wire, version 1.0, as types. Field names are the wire's own (camelCase); every object may carry more
 * fields than are listed, and a relay passes those on untouched.
 */

/** The protocol version that is sent in every request. */
export const ARC_VERSION = '1.0';

/** The media type of ARC requests and answers. */
export const ARC_CONTENT_TYPE = 'application/arc+json';

/** One part of a message. Agents spell the type `text` or `TextPart` (and so on); neither is ever rewritten. */
export interface ArcPart {
  type: string;
  content?: unknown;
  [field: string]: unknown;
}

/** What a user or an agent says: parts in order. */
export interface ArcMessage {
  role: 'user' | 'agent' | 'system' | (string & {});
  parts: ArcPart[];
  /** ISO 8601. */
  timestamp?: string;
  /** The agent that says it. */
  agentId?: string;
  [field: string]: unknown;
}

/** The state of a chat. Agents use `CLOSED` or `ENDED` for one that is over. */
export type ChatStatus = 'ACTIVE' | 'PAUSED' | 'CLOSED' | 'ENDED' | (string & {});

/** A chat, as an agent describes it in a result. Times are ISO 8601. */
export interface ArcChat {
  chatId: string;
  status?: ChatStatus;
  message?: ArcMessage;
  participants?: unknown[];
  createdAt?: string;
  closedAt?: string;
  reason?: string | null;
  [field: string]: unknown;
}

/** The result of `chat.start` and `chat.message`. */
export interface ChatResult {
  type: 'chat';
  chat: ArcChat;
  [field: string]: unknown;
}

/** The result of `chat.end`: the closed chat, or nothing but success. */
export type ChatEndResult = ChatResult | { success: boolean; chat?: undefined };

/** How urgent a task is, for the agent to weigh. */
export type TaskPriority = 'LOW' | 'NORMAL' | 'HIGH' | 'URGENT';

/** The state of a task. Agents spell the last one either way. */
export type TaskStatus =
  | 'SUBMITTED'
  | 'WORKING'
  | 'INPUT_REQUIRED'
  | 'COMPLETED'
  | 'FAILED'
  | 'CANCELED'
  | 'CANCELLED'
  | (string & {});

/** What can happen to a task: what `task.subscribe` takes as `events`. */
export type TaskEvent =
  | 'TASK_CREATED'
  | 'TASK_STARTED'
  | 'TASK_PAUSED'
  | 'TASK_RESUMED'
  | 'TASK_COMPLETED'
  | 'TASK_FAILED'
  | 'TASK_CANCELED'
  | 'TASK_CANCELLED'
  | 'NEW_MESSAGE'
  | 'NEW_ARTIFACT'
  | 'STATUS_CHANGE'
  | (string & {});

/** What `task.notification` says, at the callback URL of a subscription. */
export interface TaskNotification {
  taskId: string;
  event: TaskEvent;
  /** ISO 8601. */
  timestamp?: string;
  /** Mostly `{ status, message }`, and more for each event. */
  data: Record<string, unknown>;
  /** The agent that it comes from. */
  requestAgent?: string;
  subscriptionId?: string;
  traceId?: string;
}

/** A task, as an agent describes it in a result. */
export interface ArcTask {
  taskId: string;
  status?: TaskStatus;
  messages?: ArcMessage[];
  artifacts?: unknown[];
  [field: string]: unknown;
}

/** The result of `task.create`, `task.info` and `task.cancel`. */
export interface TaskResult {
  type: 'task';
  task: ArcTask;
  [field: string]: unknown;
}

/** The result of `task.send`. */
export interface TaskSendResult {
  success: boolean;
  message?: string;
  [field: string]: unknown;
}

/** The result of `task.subscribe`. */
export interface TaskSubscribeResult {
  type: 'task';
  subscription: Record<string, unknown>;
  [field: string]: unknown;
}

/** The methods of ARC that a client calls. `task.notification` goes the other way. */
export type ArcMethod =
  | 'chat.start'
  | 'chat.message'
  | 'chat.end'
  | 'task.create'
  | 'task.send'
  | 'task.info'
  | 'task.cancel'
  | 'task.subscribe';

/** A request, as it is posted to the endpoint. */
export interface ArcRequest {
  arc: string;
  id: string;
  method: ArcMethod | (string & {});
  requestAgent: string;
  targetAgent: string;
  traceId?: string;
  params: Record<string, unknown>;
}

/** The `error` member of an envelope. */
export interface ArcErrorObject {
  code: number;
  message: string;
  details?: unknown;
}

/** An answer. Exactly one of `result` and `error` is meaningful; the other is absent or null. */
export interface ArcEnvelope<Result = unknown> {
  arc: string;
  id: string | number;
  responseAgent: string;
  targetAgent: string;
  traceId?: string;
  result: Result;
  error?: ArcErrorObject | null;
}
