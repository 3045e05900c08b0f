import { setImmediate } from 'node:timers/promises';
import { AgentNotAvailableError } from '@arc/thread-core';
import {
  type Dialect,
  dialects,
  faults,
  type Gate,
  type LostChat,
  type RecordedRequest,
  type ScriptedAnswer,
  startTestAgent,
  type TestAgent,
} from '@arc/thread-core/testing';
import { type Json, type RecordingClient, RelayServer, until } from '../faults/world.js';
import type { Schedule, Step, Trouble } from './schedule.js';

/** One send of a schedule, and what became of it. */
export interface Sent {
  id: string;
  client: RecordingClient;
  agentId: string;
  contextId: string;
  stream: boolean;
  trouble: Trouble;
  /** Something was done that may end it with `cancelled`. */
  stopped: boolean;
  /** Its own request was given up: if that was a chat.start, the chat id of the agent is not known. */
  abandoned: boolean;
  /** Its client went before it was answered. */
  dropped: boolean;
}

const PAGE: ScriptedAnswer = faults.html(502);

function answerOf(trouble: Trouble): ScriptedAnswer | undefined {
  switch (trouble.kind) {
    case 'page':
      return PAGE;
    case 'empty':
      return faults.empty(500);
    case 'busy':
      return {
        reply: () => {
          throw new AgentNotAvailableError('All workers are busy');
        },
      };
    case 'no done':
      return { events: [{ event: 'stream', data: { n: 1 } }], done: false };
    case 'reset':
    case 'cut':
      return { reply: 'this answer is cut short', after: trouble.after, finish: trouble.kind };
    case 'truncated':
      return { reply: 'this answer is cut short', after: trouble.after };
    case 'error':
      return { error: { code: trouble.code }, as: trouble.as };
    default:
      return undefined;
  }
}

/** Milliseconds that the relay looks for a chat that it may have started. */
const BOUND = 3000;

async function pass(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await setImmediate();
}

/** Plays a schedule against a real relay and a real agent. */
export class Play {
  readonly schedule: Schedule;
  /** How the agents answer if they do not have a chat. */
  readonly lostChat: LostChat;
  readonly agent: TestAgent;
  readonly server: RelayServer;
  readonly sent: Sent[] = [];
  /** Connected clients, and those that have left. */
  readonly clients: RecordingClient[] = [];
  readonly gone: RecordingClient[] = [];
  /** Agents that have lost their open chats, and how many those were. */
  readonly forgetful = new Set<string>();
  forgotten = 0;
  /** Chats that the relay looked for until the bound, and reports as not found. */
  readonly #unconfirmed: ReadonlySet<string>;
  readonly #gates: Gate[] = [];
  #ends = 0;

  private constructor(
    schedule: Schedule,
    agent: TestAgent,
    server: RelayServer,
    unconfirmed: Set<string>,
    lostChat: LostChat,
  ) {
    this.schedule = schedule;
    this.lostChat = lostChat;
    this.agent = agent;
    this.server = server;
    this.#unconfirmed = unconfirmed;
  }

  static async create(schedule: Schedule): Promise<Play> {
    const { createChat, chatIds, ignoreAbort, dialect, busy } = schedule;
    const options: Dialect = { lostChat: schedule.lostChat, ...(dialect === 'plain' ? {} : dialects[dialect]) };
    const agent = await startTestAgent({ createChat, chatIds, ignoreAbort, ...options });
    const unconfirmed = new Set<string>();
    const server = await RelayServer.start({
      endpoint: agent.endpoint,
      busy,
      sendTimeout: 20_000,
      streamIdleTimeout: 20_000,
      cleanupTimeout: BOUND,
      heartbeat: 0,
      hooks: { onEnd: (_session, { chatId, unconfirmed: is }) => void (is && unconfirmed.add(chatId)) },
    });
    const play = new Play(schedule, agent, server, unconfirmed, options.lostChat ?? {});
    play.clients.push(await server.connect(), await server.connect());
    return play;
  }

  async run(): Promise<void> {
    for (const step of this.schedule.steps) await this.#take(step);
    // Nothing is held up any more, so that everything has to come to an end.
    for (const gate of this.#gates) gate.release();
    await Promise.all(this.clients.flatMap((client) => client.unanswered.map((id) => client.answerTo(id))));
  }

  /** The clients leave, and their chats are ended. */
  async leave(): Promise<void> {
    for (const { socket } of this.clients) socket.terminate();
    const { sessions } = this.server.relay;
    await until(
      () => sessions.size === 0,
      () => `the end of ${sessions.size} sessions`,
    );
    const most = this.unnamed;
    await this.agent
      .waitFor(({ counters }) => counters.running === 0 && (this.keepsChats || counters.open <= most + this.late))
      .catch(({ message }: Error) => {
        throw new Error(`${message}\n${this.#left().join('\n')}`);
      });
  }

  /** The agents do not answer chat.end. */
  get keepsChats(): boolean {
    return this.schedule.dialect === 'withoutEnd';
  }

  /** What was asked about chats that are still open. */
  #left(): string[] {
    const open = [...this.agent.chats.values()].filter(({ status }) => status === 'ACTIVE');
    const first = this.agent.requests[0]?.at ?? 0;
    return open.flatMap(({ chatId, agentId }) => {
      const its = this.agent.requests.filter((request) => request.chatId === chatId);
      const line = its.map(
        ({ at, method, traceId, aborted }) => `${at - first} ms ${method} ${traceId ?? ''}${aborted ? ' aborted' : ''}`,
      );
      return [`open at ${agentId}: ${chatId}`, ...line];
    });
  }

  /** Chats that only the agent can know: it chose their ids, and its answer did not arrive. */
  get unnamed(): number {
    if (this.schedule.chatIds === 'client') return 0;
    const spoilt = new Set(['reset', 'cut', 'truncated', 'no done', 'busy']);
    const lost = this.sent
      .filter(({ abandoned, trouble }) => abandoned || spoilt.has(trouble.kind))
      .map(({ id }) => id);
    return this.agent.requests.filter(({ method, traceId }) => method === 'chat.start' && lost.includes(traceId ?? ''))
      .length;
  }

  /**
   * Chats that are open because the agent made them only after the relay had looked for them until the bound: where the
   * machine is so slow that an answer was held up for as long. That it did look so long is what the agent saw.
   */
  get late(): number {
    const open = [...this.agent.chats.values()].filter(({ status }) => status === 'ACTIVE');
    return open.filter(({ chatId }) => {
      const times = this.agent.requests.filter((request) => request.chatId === chatId).map(({ at }) => at);
      return this.#unconfirmed.has(chatId) && (times.at(-1) ?? 0) - (times[0] ?? 0) > BOUND / 2;
    }).length;
  }

  async close(): Promise<void> {
    for (const gate of this.#gates) gate.release();
    await this.server.close();
    await this.agent.close();
  }

  async #take(step: Step): Promise<void> {
    if (step.step === 'send') this.#send(step);
    else if (step.step === 'cancel') this.#cancel(step.back);
    else if (step.step === 'give up') await this.#giveUp(step);
    else if (step.step === 'end') this.#end(step);
    else if (step.step === 'drop') await this.#drop(step.socket, step.how);
    else if (step.step === 'release') this.#gates.shift()?.release();
    else if (step.step === 'forget') this.#forget(`agent-${step.agent}`);
    else if (step.step === 'spoil end') this.#spoil(step.how);
    else await pass(step.turns);
  }

  async #giveUp(step: Step & { step: 'give up' }): Promise<void> {
    this.#send({ ...step, step: 'send', trouble: { kind: 'held' } });
    await pass(30);
    this.#cancel(0);
    await pass(30);
  }

  #send({ socket, agent, context, stream, trouble }: Step & { step: 'send' }): void {
    const id = `t${this.sent.length}`;
    const client = this.clients[socket] as RecordingClient;
    const isIts = (request: RecordedRequest): boolean => request.traceId === id;
    const answer = answerOf(trouble);
    if (trouble.kind === 'held') this.#gates.push(this.agent.hold(isIts));
    else if (trouble.kind === 'late') this.agent.script(isIts, { reply: id, delay: trouble.delay, times: 9 });
    else if (trouble.kind === 'in pieces')
      this.agent.script(isIts, { reply: id, chunkBytes: trouble.chunkBytes, times: 9 });
    else if (trouble.kind === 'foreign') this.agent.script(isIts, { reply: this.#foreignReply(id), times: 9 });
    else if (answer !== undefined) this.agent.script(isIts, { ...answer, times: 9 });
    const agentId = `agent-${agent}`;
    const contextId = `context-${context}`;
    if (this.schedule.busy === 'interrupt') {
      for (const other of this.#ofThread(client, agentId, contextId)) {
        Object.assign(other, { stopped: true, abandoned: true });
      }
    }
    this.sent.push({
      id,
      client,
      agentId,
      contextId,
      stream,
      trouble,
      stopped: false,
      abandoned: false,
      dropped: false,
    });
    const message = { role: 'user', parts: [{ type: 'text', content: id }] };
    client.send({ id, trace_id: id, agent_id: agentId, context_id: contextId, stream, message } satisfies Json);
  }

  /** An answer whose events carry the id of another chat that is open, as those of an agent do that echoes a client. */
  #foreignReply(id: string): (string | { event: string; data: unknown })[] {
    const chatId = [...this.agent.chats.keys()].at(-1) ?? 'nobody';
    const foreign = ['metadata', 'tool_result', 'progress'].map((event) => ({
      event,
      data: { chatId, chat: { chatId } },
    }));
    // No name of its own comes last, which would hide those before.
    return [...foreign, id, ...foreign, { event: 'done', data: {} }];
  }

  #ofThread(client: RecordingClient, agentId: string, contextId: string): Sent[] {
    return this.sent.filter((s) => s.client === client && s.agentId === agentId && s.contextId === contextId);
  }

  #cancel(back: number): void {
    const sent = this.sent.at(-1 - back);
    if (sent === undefined || sent.dropped) return;
    Object.assign(sent, { stopped: true, abandoned: true });
    sent.client.socket.send(JSON.stringify({ type: 'cancel', id: sent.id }));
  }

  #end({ socket, agent, context }: Step & { step: 'end' }): void {
    const client = this.clients[socket] as RecordingClient;
    const thread = { agent_id: `agent-${agent}`, context_id: `context-${context}` };
    for (const sent of this.#ofThread(client, thread.agent_id, thread.context_id)) sent.stopped = true;
    client.send({ type: 'end', id: `end${this.#ends++}`, ...thread });
  }

  async #drop(index: number, how: 'terminate' | 'close' | 'reset'): Promise<void> {
    const client = this.clients[index] as RecordingClient;
    for (const sent of this.sent) if (sent.client === client) sent.dropped = true;
    if (how === 'reset')
      (client.socket as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy();
    else if (how === 'terminate') client.socket.terminate();
    else client.socket.close(1000);
    this.gone.push(client);
    this.clients[index] = await this.server.connect();
  }

  #forget(agentId: string): void {
    this.forgetful.add(agentId);
    for (const chat of [...this.agent.chats.values()]) {
      if (chat.agentId !== agentId || chat.status !== 'ACTIVE') continue;
      this.forgotten += 1;
      this.agent.forget(chat.chatId);
    }
  }

  #spoil(how: 'reset' | 'cut' | 'page' | 'error'): void {
    const answers = { reset: faults.reset(), cut: faults.cut(0), page: PAGE, error: { error: { code: -32_603 } } };
    this.agent.script('chat.end', answers[how]);
  }
}
