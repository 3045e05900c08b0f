import { createHmac, randomUUID } from 'node:crypto';
import { ARC_VERSION, type TaskEvent } from '@arc/thread-protocol';
import { InvalidParamsError } from '../protocol/errors.js';
import { now } from './chats.js';
import { type Params, stringOf } from './requests.js';

/** @internal */
export interface Subscription {
  subscriptionId: string;
  taskId: string;
  callbackUrl: string;
  events: string[];
  active: boolean;
  createdAt: string;
}

const DEFAULT_EVENTS = ['TASK_COMPLETED', 'TASK_FAILED'];

/** Only these hosts are posted to: a test agent reaches nothing but its own machine. */
const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]']);

/**
 * Posts what happens to tasks to their subscribers, as the Python SDK does: flat, once, signed over a text that is
 * spaced otherwise than the body.
 * @internal
 */
export class Webhooks {
  readonly #secret: string | undefined;
  readonly #byTask = new Map<string, Subscription[]>();
  readonly #closing = new AbortController();

  constructor(secret: string | undefined) {
    this.#secret = secret;
  }

  subscribe(taskId: string, params: Params): Subscription {
    const callbackUrl = stringOf(params, 'callbackUrl');
    const { events = DEFAULT_EVENTS } = params;
    if (!Array.isArray(events)) throw new InvalidParamsError('params.events must be an array');
    const subscription = {
      subscriptionId: `sub-${randomUUID()}`,
      taskId,
      callbackUrl,
      events: events.map(String),
      active: true,
      createdAt: now(),
    };
    this.#byTask.set(taskId, [...(this.#byTask.get(taskId) ?? []), subscription]);
    return subscription;
  }

  notify(agentId: string, taskId: string, event: TaskEvent, data: object): void {
    for (const subscription of this.#byTask.get(taskId) ?? []) {
      const { subscriptionId, active, events } = subscription;
      if (!active || !events.includes(event)) continue;
      const head = { arc: ARC_VERSION, method: 'task.notification', requestAgent: agentId, taskId, event };
      void this.#post(subscription, { ...head, timestamp: now(), data, subscriptionId });
    }
  }

  async #post(subscription: Subscription, payload: object): Promise<void> {
    const { callbackUrl } = subscription;
    if (!URL.canParse(callbackUrl) || !LOOPBACK.has(new URL(callbackUrl).hostname)) return;
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (this.#secret !== undefined) {
      const digest = createHmac('sha256', this.#secret).update(dumps(payload)).digest('base64');
      headers['x-arc-signature'] = `sha256=${digest}`;
    }
    try {
      const body = JSON.stringify(payload);
      const { status } = await fetch(callbackUrl, { method: 'POST', headers, body, signal: this.#closing.signal });
      if (status === 410) subscription.active = false;
    } catch {
      // The subscriber is away. The SDK would try twice more, and then give up as well.
    }
  }

  close(): void {
    this.#closing.abort();
  }
}

/** As Python's `json.dumps` writes it. */
function dumps(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(dumps).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    return `{${fields.map(([name, field]) => `${dumps(name)}: ${dumps(field)}`).join(', ')}}`;
  }
  const text = JSON.stringify(value);
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
