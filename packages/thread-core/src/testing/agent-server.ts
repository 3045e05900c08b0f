import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ARC_VERSION, type ArcMessage, type ArcMethod } from '@arc/thread-protocol';
import {
  AgentNotFoundError,
  ArcError,
  AuthenticationError,
  arcError,
  InvalidRequestError,
  MethodNotFoundError,
  ParseError,
  UnsupportedVersionError,
} from '../protocol/errors.js';
import { isObject } from '../values.js';
import type { AgentHandler, AgentTurn } from './agent.js';
import type { Plan } from './answers.js';
import { type AgentChat, ChatRegistry, chatResult } from './chats.js';
import type { Dialect } from './dialects.js';
import { Exchange } from './exchange.js';
import { asArcError, streamReply, wholeReply } from './replies.js';
import { messageOf, type Params, stringOf, validate } from './requests.js';
import { TaskRegistry, taskResult } from './tasks.js';
import { Webhooks } from './webhooks.js';

/** Options of `createAgentServer`. */
export interface AgentServerOptions {
  /** The agents by their id. */
  agents: Readonly<Record<string, AgentHandler>>;
  /** The bearer token that requests must carry, or a function that returns `true` for theirs. Default: none is required. */
  token?: string | ((token: string | undefined) => boolean);
  /** Where requests are posted, with or without a slash at its end. Default `/arc`. */
  path?: string;
  /** Signs notifications of tasks, which are only posted to addresses of this machine. Default: they are not signed. */
  webhookSecret?: string;
  /** Bytes of a request that are accepted. Default 1 MiB. */
  maxBodyBytes?: number;
}

/** What `createAgentServer` gives. `await using` closes it. */
export interface AgentServer extends AsyncDisposable {
  /** The HTTP server that it runs on. */
  readonly server: Server;
  /** The address that clients post to, once the server listens. */
  readonly endpoint: string;
  /** The chats by their id, those that are ended included. */
  readonly chats: ReadonlyMap<string, AgentChat>;
  /** Resolves to the endpoint. Defaults: any free port, 127.0.0.1. */
  listen(port?: number, host?: string): Promise<string>;
  /** Ends at once: open sockets are destroyed, running turns aborted. */
  close(): Promise<void>;
}

/** An ARC agent server on node:http: chats with memory, JSON and streamed answers, tasks. */
export function createAgentServer(options: AgentServerOptions): AgentServer {
  const { agents, path = '/arc' } = options;
  return new ArcServer(options, {
    handlerOf: (agentId) => (Object.hasOwn(agents, agentId) ? agents[agentId] : undefined),
    serves: (pathname) => pathname === path || pathname === `${path}/`,
  });
}

/** What a test agent decides otherwise. @internal */
export interface ServerHooks extends Dialect {
  handlerOf(agentId: string): AgentHandler | undefined;
  serves(path: string): boolean;
  /** A request has arrived completely. */
  arrived?(exchange: Exchange): Plan;
  aborted?(exchange: Exchange): void;
  settled?(exchange: Exchange): void;
  /** Chats, or what runs, are not as they were. */
  changed?(): void;
  ignoreAbort?: boolean;
  createChat?: 'at-once' | 'when-ready';
  chatIds?: 'client' | 'server';
}

type Call = { exchange: Exchange; plan: Plan; agentId: string; params: Params; handler: AgentHandler };

/** @internal */
export class ArcServer implements AgentServer {
  readonly server: Server;
  readonly registry: ChatRegistry;
  readonly running = new Set<Exchange>();
  readonly #webhooks: Webhooks;
  readonly #tasks: TaskRegistry;
  readonly #options: Omit<AgentServerOptions, 'agents'>;
  readonly #hooks: ServerHooks;
  #host = '127.0.0.1';
  readonly #methods: Record<ArcMethod, (call: Call) => Promise<void>> = {
    'chat.start': (call) => this.#start(call),
    'chat.message': (call) => this.#message(call),
    'chat.end': (call) => this.#respond(call, () => this.#end(call)),
    'task.create': (call) => this.#respond(call, () => this.#createTask(call)),
    'task.send': (call) => this.#respond(call, () => this.#sendTask(call)),
    'task.info': (call) => this.#respond(call, ({ agentId, params }) => this.#tasks.info(agentId, params)),
    'task.cancel': (call) => this.#respond(call, ({ agentId, params }) => this.#tasks.cancel(agentId, params)),
    'task.subscribe': (call) => this.#respond(call, ({ agentId, params }) => this.#tasks.subscribe(agentId, params)),
  };

  constructor(options: Omit<AgentServerOptions, 'agents'>, hooks: ServerHooks) {
    this.#options = options;
    this.#hooks = hooks;
    this.#webhooks = new Webhooks(options.webhookSecret);
    this.#tasks = new TaskRegistry(this.#webhooks);
    this.registry = new ChatRegistry(() => hooks.changed?.());
    this.server = createServer((req, res) => void this.#serve(req, res));
  }

  get chats(): ReadonlyMap<string, AgentChat> {
    return this.registry.all;
  }

  get endpoint(): string {
    const address = this.server.address() as AddressInfo | null;
    if (address === null) throw new Error('The agent server does not listen');
    const host = this.#host.includes(':') ? `[${this.#host}]` : this.#host;
    return `http://${host}:${address.port}${this.#options.path ?? '/arc'}`;
  }

  async listen(port = 0, host = '127.0.0.1'): Promise<string> {
    this.#host = host;
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject).listen(port, host, () => resolve(void this.server.off('error', reject)));
    });
    return this.endpoint;
  }

  async close(): Promise<void> {
    for (const exchange of this.running) exchange.cancel();
    this.#webhooks.close();
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const hooks = this.#hooks;
    const exchange = new Exchange(req, res, hooks.ignoreAbort ?? false, () => hooks.aborted?.(exchange));
    this.running.add(exchange);
    try {
      await exchange.read(this.#options.maxBodyBytes ?? 1_048_576);
      const broken = this.#parse(exchange);
      const plan = hooks.arrived?.(exchange) ?? {};
      exchange.delivery = plan.delivery ?? {};
      if (plan.instead === undefined) {
        if (broken !== undefined) throw broken;
        await this.#call(exchange, plan);
      } else {
        await plan.ready?.(exchange.signal);
        await plan.instead(exchange);
      }
    } catch (error) {
      // A second failure here is the connection's, so it cannot be reported.
      const isPage = hooks.crash === 'bare-500' && !(error instanceof ArcError);
      if (!exchange.over) await (isPage ? exchange.page(500) : exchange.refuse(asArcError(error))).catch(() => {});
    } finally {
      this.running.delete(exchange);
      hooks.settled?.(exchange);
    }
  }

  #parse(exchange: Exchange): ArcError | undefined {
    const { method, url = '' } = exchange.req;
    if (!this.#hooks.serves(url.replace(/\?.*/s, ''))) {
      return new InvalidRequestError(`No agent listens at ${url}`, { status: 404 });
    }
    if (method !== 'POST') return new InvalidRequestError('Requests must be posted', { status: 405 });
    try {
      const request: unknown = JSON.parse(exchange.body);
      if (!isObject(request)) return new InvalidRequestError('The request must be a JSON object');
      exchange.request = request;
    } catch {
      return new ParseError('The request is not JSON');
    }
    return undefined;
  }

  async #call(exchange: Exchange, plan: Plan): Promise<void> {
    this.#authenticate(exchange.req.headers.authorization);
    const { arc, method, targetAgent: agentId, params } = validate(exchange.request);
    if (arc !== ARC_VERSION) {
      throw new UnsupportedVersionError(`ARC ${arc} is not spoken here`, {
        details: { supportedVersion: ARC_VERSION },
      });
    }
    const handler = this.#hooks.handlerOf(agentId);
    if (handler === undefined) throw new AgentNotFoundError(`Agent not found: ${agentId}`);
    const isKnown = this.#hooks.methods?.includes(method as ArcMethod) ?? Object.hasOwn(this.#methods, method);
    if (!isKnown) throw new MethodNotFoundError(`Method not found: ${method}`);
    const call = { exchange, plan, agentId, params, handler: plan.handler ?? handler };
    await this.#methods[method as ArcMethod](call);
  }

  #authenticate(authorization: string | undefined): void {
    const { token } = this.#options;
    const theirs = /^Bearer (.+)$/i.exec(authorization ?? '')?.[1];
    if (typeof token === 'function' ? token(theirs) === true : token === undefined || token === theirs) return;
    throw new AuthenticationError('A valid bearer token is required');
  }

  async #start(call: Call): Promise<void> {
    const { agentId, params } = call;
    const message = messageOf(params, 'initialMessage');
    const given = params.chatId === undefined ? undefined : stringOf(params, 'chatId');
    const chat = this.registry.draft(agentId, (this.#hooks.chatIds !== 'server' && given) || `chat-${randomUUID()}`);
    const open = (): void => {
      if (this.#hooks.stateless !== true) this.registry.add(chat);
    };
    if (this.#hooks.createChat !== 'when-ready') open();
    await this.#chat(call, 'chat.start', message, chat, open);
  }

  async #message(call: Call): Promise<void> {
    const message = messageOf(call.params, 'message');
    await this.#chat(call, 'chat.message', message, await this.#find(call), () => {});
  }

  async #end(call: Call): Promise<object> {
    const chat = await this.#find(call);
    const { reason } = call.params;
    this.registry.close(chat, typeof reason === 'string' ? reason : null);
    return chatResult(chat);
  }

  async #chat(call: Call, method: AgentTurn['method'], message: ArcMessage, chat: AgentChat, open: () => void) {
    const { exchange, plan } = call;
    const turn = turnOf(call, method, message, chat.chatId, chat.history);
    await plan.ready?.(exchange.signal);
    // A start that is never answered leaves no chat if chats are created when the answer is ready.
    const ready = exchange.silent ? () => {} : open;
    if (plan.write !== undefined) {
      ready();
      await plan.write(exchange, chat.chatId);
    } else if (exchange.stream) {
      await streamReply(exchange, call.handler, turn, chat, ready, this.#hooks.stateless);
    } else {
      const reply = await wholeReply(call.handler, turn);
      chat.history.push(reply);
      ready();
      await exchange.result(this.#hooks.stateless ? { type: 'message', message: reply } : chatResult(chat, reply));
    }
  }

  async #createTask(call: Call): Promise<object> {
    const message = messageOf(call.params, 'initialMessage');
    const task = this.#tasks.create(call.agentId, call.params);
    const turn = turnOf(call, 'task.create', message, task.taskId, task.messages);
    const created = taskResult(task);
    this.#tasks.answered(task, await wholeReply(call.handler, turn));
    return created;
  }

  async #sendTask(call: Call): Promise<object> {
    const message = messageOf(call.params, 'message');
    const task = this.#tasks.active(call.agentId, call.params);
    const turn = turnOf(call, 'task.send', message, task.taskId, task.messages);
    this.#tasks.answered(task, await wholeReply(call.handler, turn));
    return { success: true, message: 'Message sent' };
  }

  /** Answers a call that is no turn of a chat, and so never a stream unless it is scripted. */
  async #respond(call: Call, result: (call: Call) => object | Promise<object>): Promise<void> {
    const { exchange, plan } = call;
    await plan.ready?.(exchange.signal);
    const answer = await result(call);
    await (plan.write?.(exchange, String(call.params.chatId)) ?? exchange.result(answer));
  }

  async #find({ exchange, agentId, params }: Call): Promise<AgentChat> {
    const chatId = stringOf(params, 'chatId');
    const chat = this.registry.find(agentId, chatId);
    if (chat !== undefined) return chat;
    const { code = -43_001, status, as, message } = this.#hooks.lostChat ?? {};
    const error = arcError(code, message?.(chatId) ?? `Chat not found: ${chatId}`, { status, details: { chatId } });
    if (as === 'event' && exchange.stream) await exchange.refuse(error, as);
    throw error;
  }
}

/** The turn of a message, which becomes part of the history that the next one sees. */
function turnOf(
  call: Call,
  method: AgentTurn['method'],
  message: ArcMessage,
  chatId: string,
  history: ArcMessage[],
): AgentTurn {
  const { exchange, agentId, params } = call;
  const { signal, stream, request } = exchange;
  const traceId = typeof request.traceId === 'string' ? request.traceId : undefined;
  const metadata = isObject(params.metadata) ? params.metadata : undefined;
  const before = [...history];
  history.push(message);
  return { agentId, chatId, method, message, history: before, traceId, metadata, stream, signal };
}
