import type { IncomingHttpHeaders, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { ArcMethod } from '@arc/thread-protocol';
import { type AgentHandler, abortable, echo } from './agent.js';
import { type AgentServerOptions, ArcServer } from './agent-server.js';
import { type Answer, type Plan, planOf, type ScriptedAnswer } from './answers.js';
import type { AgentChat } from './chats.js';
import type { Dialect } from './dialects.js';
import type { Exchange } from './exchange.js';

/** Options of `startTestAgent`. */
export interface TestAgentOptions extends Omit<AgentServerOptions, 'agents' | 'path'>, Dialect {
  /** The agent ids that exist. Default: every one. */
  agents?: readonly string[];
  /** How they answer if nothing is scripted. Default `echo`. */
  handler?: AgentHandler;
  /** Default 0, any free one. */
  port?: number;
  /** When chat.start makes its chat: as it arrives, or when its answer is ready. Default `at-once`. */
  createChat?: 'at-once' | 'when-ready';
  /** Continues a request whose client has disconnected. Default false. */
  ignoreAbort?: boolean;
  /** Whether a chatId in chat.start is honoured, or replaced by the server's own. Default `client`. */
  chatIds?: 'client' | 'server';
}

/** A request as it arrived. Fields that it lacks, or has in a wrong type, are empty strings. */
export interface RecordedRequest {
  readonly method: string;
  readonly agentId: string;
  readonly chatId: string | undefined;
  readonly traceId: string | undefined;
  readonly params: Readonly<Record<string, unknown>>;
  /** The bytes of the body, as text. */
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
  /** The HTTP path, query included. */
  readonly path: string;
  /** Which TCP connection it came on, counted from 1. */
  readonly connection: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** True once the client has closed its socket before the answer was complete. */
  aborted: boolean;
}

/** Which requests: those of a method, those that have all of these, or those that the function picks. */
export type RequestMatcher =
  | ArcMethod
  | { method?: string; agentId?: string; chatId?: string }
  | ((request: RecordedRequest) => boolean);

/** Requests that match wait here until it is released. */
export interface Gate {
  /** Resolves to the first request that waits. */
  readonly arrived: Promise<RecordedRequest>;
  /** Releases the requests that wait, and lets later ones pass. */
  release(): void;
}

/** What a test agent counts. */
export interface TestAgentCounters {
  /** Requests that have arrived so far. */
  requests: number;
  /** Requests that are being answered now. */
  running: number;
  /** Requests whose client closed its socket before the answer was complete. */
  aborted: number;
  /** Chats started and ended so far, and those that are open now. */
  started: number;
  ended: number;
  open: number;
  /** TCP connections that are open now, and those accepted so far. */
  connections: number;
  accepted: number;
}

/** Requests that `requests` keeps; the oldest go first. */
const MAX_RECORDED = 10_000;

/** Starts an agent for tests on 127.0.0.1. It serves every path, so that redirects lead back to it. */
export async function startTestAgent(options: TestAgentOptions = {}): Promise<TestAgent> {
  const agent = new TestAgent(options);
  await agent.listen(options.port);
  return agent;
}

/** An ARC agent whose answers can be scripted and broken, and which records its requests. */
export class TestAgent implements AsyncDisposable {
  readonly requests: RecordedRequest[] = [];
  readonly #server: ArcServer;
  readonly #scripts: Array<{ matches: (request: RecordedRequest) => boolean; answer: ScriptedAnswer; left: number }> =
    [];
  readonly #gates = new Set<(request: RecordedRequest) => Promise<void> | undefined>();
  readonly #records = new WeakMap<Exchange, RecordedRequest>();
  readonly #connections = new WeakMap<Socket, number>();
  readonly #waiters = new Set<() => void>();
  readonly #counts = { requests: 0, aborted: 0, connections: 0, accepted: 0 };

  /** @internal */
  constructor({ agents, handler = echo, ...options }: TestAgentOptions) {
    this.#server = new ArcServer(options, {
      ...options,
      handlerOf: (agentId) => (agents === undefined || agents.includes(agentId) ? handler : undefined),
      serves: () => true,
      arrived: (exchange) => this.#arrived(exchange),
      aborted: (exchange) => this.#aborted(exchange),
      settled: () => this.#changed(),
      changed: () => this.#changed(),
    });
    this.#server.server.on('connection', (socket: Socket) => this.#connected(socket));
  }

  /** The address that clients post to. */
  get endpoint(): string {
    return this.#server.endpoint;
  }

  /** The HTTP server, for what is to be done to it itself. */
  get server(): Server {
    return this.#server.server;
  }

  /** The chats by their id, those that are ended included. */
  get chats(): ReadonlyMap<string, AgentChat> {
    return this.#server.chats;
  }

  /** The counters as they are now. */
  get counters(): TestAgentCounters {
    const { started, ended, open } = this.#server.registry;
    return { ...this.#counts, running: this.#server.running.size, started, ended, open };
  }

  /** The next requests that match get these answers, one each, in this order. `{}` matches every request. */
  script(matcher: RequestMatcher, ...answers: Answer[]): void {
    const matches = predicate(matcher);
    for (const each of answers) {
      const plain = typeof each === 'string' || typeof each === 'function' || Array.isArray(each);
      const answer = plain ? { reply: each as AgentHandler } : (each as ScriptedAnswer);
      this.#scripts.push({ matches, answer, left: answer.times ?? 1 });
    }
  }

  /** Lets matching requests wait, once they have arrived; by default all of them. */
  hold(matcher: RequestMatcher = {}): Gate {
    const matches = predicate(matcher);
    let arrive: (request: RecordedRequest) => void;
    let open: () => void;
    const arrived = new Promise<RecordedRequest>((resolve) => (arrive = resolve));
    const opened = new Promise<void>((resolve) => (open = resolve));
    const gate = (request: RecordedRequest): Promise<void> | undefined => {
      if (!matches(request)) return undefined;
      arrive(request);
      return opened;
    };
    this.#gates.add(gate);
    const release = (): void => {
      this.#gates.delete(gate);
      open();
    };
    return { arrived, release };
  }

  /** Loses a chat, or all chats: messages to it are answered as `lostChat` says. */
  forget(chatId?: string): void {
    this.#server.registry.forget(chatId);
  }

  /**
   * Resolves as soon as the condition holds; it is checked whenever something happens. `idle`: no request is
   * being answered, and no chat is open. Rejects with the counters after `timeout` milliseconds (default 5000).
   */
  waitFor(condition: 'idle' | ((agent: TestAgent) => boolean), { timeout = 5000 } = {}): Promise<void> {
    const idle = ({ counters }: TestAgent): boolean => counters.running === 0 && counters.open === 0;
    const holds = condition === 'idle' ? idle : condition;
    return new Promise((resolve, reject) => {
      const settle = (done: () => void): void => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        done();
      };
      const look = (): void => {
        try {
          if (holds(this)) settle(resolve);
        } catch (error) {
          settle(() => reject(error));
        }
      };
      const timer = setTimeout(() => {
        const what = condition === 'idle' ? 'idle' : String(condition);
        const counters = JSON.stringify(this.counters);
        settle(() => reject(new Error(`Timed out after ${timeout} ms waiting for ${what}; the counters: ${counters}`)));
      }, timeout);
      this.#waiters.add(look);
      look();
    });
  }

  /** Ends at once: open sockets are destroyed. */
  close(): Promise<void> {
    return this.#server.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  async listen(port = 0): Promise<void> {
    await this.#server.listen(port);
  }

  #arrived(exchange: Exchange): Plan {
    const request = this.#record(exchange);
    const script = this.#scripts.find(({ matches }) => matches(request));
    if (script !== undefined && --script.left < 1) this.#scripts.splice(this.#scripts.indexOf(script), 1);
    const plan = script === undefined ? {} : planOf(script.answer);
    const gates = [...this.#gates].map((gate) => gate(request));
    this.#changed();
    const ready = async (signal: AbortSignal): Promise<void> => {
      await abortable(Promise.all(gates), signal);
      await plan.ready?.(signal);
    };
    return { ...plan, ready };
  }

  #record(exchange: Exchange): RecordedRequest {
    const { request, req, body } = exchange;
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    const params = (request.params ?? {}) as Record<string, unknown>;
    const record: RecordedRequest = {
      method: text(request.method) ?? '',
      agentId: text(request.targetAgent) ?? '',
      chatId: text(params.chatId),
      traceId: text(request.traceId),
      params,
      body,
      headers: req.headers,
      path: req.url ?? '',
      connection: this.#connections.get(req.socket) ?? 0,
      at: Date.now(),
      aborted: false,
    };
    this.#records.set(exchange, record);
    this.#counts.requests++;
    this.requests.push(record);
    if (this.requests.length > MAX_RECORDED) this.requests.shift();
    return record;
  }

  #aborted(exchange: Exchange): void {
    const record = this.#records.get(exchange);
    if (record !== undefined) record.aborted = true;
    this.#counts.aborted++;
    this.#changed();
  }

  #connected(socket: Socket): void {
    this.#connections.set(socket, ++this.#counts.accepted);
    this.#counts.connections++;
    socket.once('close', () => {
      this.#counts.connections--;
      this.#changed();
    });
    this.#changed();
  }

  #changed(): void {
    for (const look of this.#waiters) look();
  }
}

function predicate(matcher: RequestMatcher): (request: RecordedRequest) => boolean {
  if (typeof matcher === 'function') return matcher;
  const { method, agentId, chatId } = typeof matcher === 'string' ? { method: matcher } : { ...matcher };
  return (request) =>
    (method ?? request.method) === request.method &&
    (agentId ?? request.agentId) === request.agentId &&
    (chatId ?? request.chatId) === request.chatId;
}
