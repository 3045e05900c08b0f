import { randomUUID } from 'node:crypto';
import type { ArcMessage, ArcTask, TaskResult, TaskSubscribeResult } from '@arc/thread-protocol';
import { TaskAlreadyCancelledError, TaskNotFoundError } from '../protocol/errors.js';
import { now } from './chats.js';
import { type Params, stringOf } from './requests.js';
import type { Webhooks } from './webhooks.js';

interface Task extends ArcTask {
  agentId: string;
  status: 'SUBMITTED' | 'INPUT_REQUIRED' | 'CANCELED';
  messages: ArcMessage[];
}

/** The tasks of a server: once answered, each waits for more input until it is canceled. @internal */
export class TaskRegistry {
  readonly #tasks = new Map<string, Task>();
  readonly #webhooks: Webhooks;

  constructor(webhooks: Webhooks) {
    this.#webhooks = webhooks;
  }

  create(agentId: string, { priority = 'NORMAL', metadata }: Params): Task {
    const fields = {
      taskId: randomUUID(),
      createdAt: now(),
      priority,
      ...(metadata === undefined ? {} : { metadata }),
    };
    const task: Task = { agentId, status: 'SUBMITTED', messages: [], ...fields };
    this.#tasks.set(task.taskId, task);
    return task;
  }

  /** A task that still takes input. */
  active(agentId: string, params: Params): Task {
    const task = this.#find(agentId, params);
    if (task.status === 'CANCELED') throw new TaskAlreadyCancelledError(`Task already cancelled: ${task.taskId}`);
    return task;
  }

  info(agentId: string, params: Params): TaskResult {
    const task = this.#find(agentId, params);
    const messages = params.includeMessages ? { messages: task.messages } : {};
    return taskResult(task, { ...messages, ...(params.includeArtifacts ? { artifacts: [] } : {}) });
  }

  /** The agent has said something about the task, and waits for more. */
  answered(task: Task, message: ArcMessage): void {
    task.messages.push(message);
    if (task.status === 'SUBMITTED') task.status = 'INPUT_REQUIRED';
    const data = { status: task.status, message: 'New message', messageContent: message };
    this.#webhooks.notify(task.agentId, task.taskId, 'NEW_MESSAGE', data);
  }

  cancel(agentId: string, params: Params): TaskResult {
    const task = Object.assign(this.active(agentId, params), { status: 'CANCELED' as const });
    const canceled = { canceledAt: now(), reason: params.reason ?? null };
    const data = { status: task.status, message: 'Task was canceled', ...canceled };
    this.#webhooks.notify(agentId, task.taskId, 'TASK_CANCELED', data);
    return taskResult(task, canceled);
  }

  subscribe(agentId: string, params: Params): TaskSubscribeResult {
    const { taskId } = this.#find(agentId, params);
    return { type: 'task', subscription: { ...this.#webhooks.subscribe(taskId, params) } };
  }

  #find(agentId: string, params: Params): Task {
    const taskId = stringOf(params, 'taskId');
    const task = this.#tasks.get(taskId);
    if (task?.agentId !== agentId) throw new TaskNotFoundError(`Task not found: ${taskId}`, { details: { taskId } });
    return task;
  }
}

/** The task as it is in a result: without its messages, unless they are requested. @internal */
export function taskResult({ agentId, messages, ...fields }: Task, more: Params = {}): TaskResult {
  return { type: 'task', task: { ...fields, ...more } };
}
