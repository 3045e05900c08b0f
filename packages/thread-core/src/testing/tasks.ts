import { randomUUID } from 'node:crypto';
import type { ArcMessage, ArcTask, TaskResult, TaskSubscribeResult } from '@arc/thread-protocol';
import { TaskAlreadyCancelledError, TaskNotFoundError } from '../protocol/errors.js';
import { now } from './chats.js';
import { type Params, stringOf } from './requests.js';

interface Task extends ArcTask {
  agentId: string;
  status: 'INPUT_REQUIRED' | 'CANCELLED';
  messages: ArcMessage[];
}

/** The tasks of a server: each waits for more input until it is cancelled. @internal */
export class TaskRegistry {
  readonly #tasks = new Map<string, Task>();

  create(agentId: string, { priority = 'NORMAL', metadata }: Params): Task {
    const fields = {
      taskId: randomUUID(),
      createdAt: now(),
      priority,
      ...(metadata === undefined ? {} : { metadata }),
    };
    const task: Task = { agentId, status: 'INPUT_REQUIRED', messages: [], ...fields };
    this.#tasks.set(task.taskId, task);
    return task;
  }

  /** A task that still takes input. */
  active(agentId: string, params: Params): Task {
    const task = this.#find(agentId, params);
    if (task.status === 'CANCELLED') throw new TaskAlreadyCancelledError(`Task already cancelled: ${task.taskId}`);
    return task;
  }

  info(agentId: string, params: Params): TaskResult {
    const task = this.#find(agentId, params);
    const messages = params.includeMessages ? { messages: task.messages } : {};
    return taskResult(task, { ...messages, ...(params.includeArtifacts ? { artifacts: [] } : {}) });
  }

  cancel(agentId: string, params: Params): TaskResult {
    const task = Object.assign(this.active(agentId, params), { status: 'CANCELLED' as const });
    return taskResult(task, { cancelledAt: now(), reason: params.reason ?? null });
  }

  subscribe(agentId: string, params: Params): TaskSubscribeResult {
    const { taskId } = this.#find(agentId, params);
    const callbackUrl = stringOf(params, 'callbackUrl');
    const { events = [] } = params;
    const subscription = { subscriptionId: randomUUID(), taskId, callbackUrl, events, active: true, createdAt: now() };
    return { type: 'task', subscription };
  }

  #find(agentId: string, params: Params): Task {
    const taskId = stringOf(params, 'taskId');
    const task = this.#tasks.get(taskId);
    if (task?.agentId !== agentId) throw new TaskNotFoundError(`Task not found: ${taskId}`, { details: { taskId } });
    return task;
  }
}

/** The task as it stands in a result: without its messages, unless they are asked for. @internal */
export function taskResult({ agentId, messages, ...fields }: Task, more: Params = {}): TaskResult {
  return { type: 'task', task: { ...fields, ...more } };
}
