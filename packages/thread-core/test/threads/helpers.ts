import type { ArcMessage } from '@arc/thread-protocol';
import type { Test } from 'tap';
import { ArcClient, type ArcClientOptions } from '../../src/client/arc-client.js';
import type { ArcEvent } from '../../src/client/event.js';
import type { ArcResponse } from '../../src/client/response.js';
import type { Logger } from '../../src/logger.js';
import {
  type RecordedRequest,
  startTestAgent,
  type TestAgent,
  type TestAgentOptions,
  textOf,
} from '../../src/testing/index.js';
import type { ChatOutcome } from '../../src/threads/ending.js';
import type { ObservedOptions } from '../../src/threads/options.js';
import type { SendListener, SendRequest } from '../../src/threads/send.js';
import type { ThreadEntry } from '../../src/threads/store.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

export function say(text: string): ArcMessage {
  return { role: 'user', parts: [{ type: 'text', content: text }] };
}

/** What the agent said in an answer. */
export function saidIn(response: ArcResponse): string {
  return textOf(response.result.chat.message ?? { role: 'agent', parts: [] });
}

/** What the agent said in the `content` events of a stream, and the names of all its events. */
export async function readAll(
  stream: AsyncIterable<ArcEvent>,
): Promise<{ text: string; names: string[]; restarted: boolean }> {
  let text = '';
  const names: string[] = [];
  let restarted = true;
  for await (const { event, data, ...more } of stream) {
    names.push(event);
    restarted &&= more.restarted === true;
    if (event === 'content')
      text += typeof data === 'string' ? data : textOf((data as { message: ArcMessage }).message);
  }
  return { text, names, restarted };
}

interface SetUpOptions extends ObservedOptions {
  agent?: TestAgentOptions;
  client?: Partial<ArcClientOptions>;
}

interface LogLine {
  about: Record<string, unknown>;
  message: string;
}

interface SetUp {
  agent: TestAgent;
  client: ArcClient;
  threads: ThreadManager;
  /** What was logged as an error. */
  log: LogLine[];
  /** What was logged as a warning. */
  warnings: LogLine[];
  /** What was logged as information. */
  infos: LogLine[];
  /** What the hooks were called with. */
  started: ThreadEntry[];
  restarted: ThreadEntry[];
  ended: ChatOutcome[];
}

/** An agent, a client of it, and the threads of one connection. */
export async function setUp(t: Test, { agent: agentOptions, client: clientOptions, ...options }: SetUpOptions = {}) {
  const agent = await startTestAgent(agentOptions);
  t.teardown(() => agent.close());
  const client = new ArcClient({ endpoint: agent.endpoint, ...clientOptions });
  t.teardown(() => client.close());
  const log: LogLine[] = [];
  const warnings: LogLine[] = [];
  const infos: LogLine[] = [];
  const started: ThreadEntry[] = [];
  const restarted: ThreadEntry[] = [];
  const ended: ChatOutcome[] = [];
  const threads = new ThreadManager(client, {
    logger: loggerTo(log, warnings, infos),
    hooks: {
      onStart: (thread) => started.push({ ...thread }),
      onRestart: (thread) => restarted.push({ ...thread }),
      onEnd: (outcome) => ended.push(outcome),
    },
    ...options,
  });
  return { agent, client, threads, log, warnings, infos, started, restarted, ended } satisfies SetUp;
}

function loggerTo(errors: LogLine[], warnings: LogLine[], infos: LogLine[]): Logger {
  const nothing = (): void => {};
  const writeTo =
    (lines: LogLine[]) =>
    (about: object, message: string): void => {
      lines.push({ about: about as Record<string, unknown>, message });
    };
  return { debug: nothing, info: writeTo(infos), warn: writeTo(warnings), error: writeTo(errors) };
}

/** The methods of the requests that reached the agent, in order. */
export function methods(agent: TestAgent): string[] {
  return agent.requests.map(({ method }) => method);
}

export function requestsOf(agent: TestAgent, method: string): RecordedRequest[] {
  return agent.requests.filter((request) => request.method === method);
}

/** Resolves when the agent has got so many requests of a method. */
export function reached(agent: TestAgent, method: string, count = 1): Promise<void> {
  return agent.waitFor(() => requestsOf(agent, method).length >= count);
}

/** How a promise came out, without throwing. */
export async function settled<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
  }
}

/** Records what a send reports, and how often it ends. */
export class RecordingListener implements SendListener {
  readonly received: string[] = [];
  endings = 0;
  error: unknown;
  readonly ended: Promise<string>;
  #end!: (how: string) => void;
  #waiter: () => void = () => {};

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  onResponse(): void {
    this.#finish('response');
  }

  onEvent({ event }: ArcEvent): void {
    if (event === 'done' || event === 'error') this.#finish(event);
    else this.#record(event);
  }

  onError(error: unknown): void {
    this.error = error;
    this.#finish('error');
  }

  onCancelled(reason: unknown): void {
    this.error = reason;
    this.#finish('cancelled');
  }

  /** Resolves when so many events of that name have come. */
  times(name: string, count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiter = () => {
        if (this.received.filter((what) => what === name).length >= count) resolve();
      };
      this.#waiter();
    });
  }

  #record(what: string): void {
    // What comes after the end is to be seen.
    this.received.push(this.endings > 0 ? `late ${what}` : what);
    this.#waiter();
  }

  #finish(how: string): void {
    this.#record(how);
    this.endings += 1;
    this.#end(how);
  }
}

/** Sends as the relay does. */
export function dispatch(threads: ThreadManager, request: Partial<SendRequest> = {}) {
  const listener = new RecordingListener();
  const send = threads.dispatch({ agentId: 'support', message: say('hello'), ...request }, listener);
  return { listener, send };
}
