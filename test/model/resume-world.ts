import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { CuttingProxy, until, withDeadline } from '@arc/test-client';
import { createRelay } from '@arc/thread-core';
import { startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import { WebSocket, WebSocketServer } from 'ws';
import { recordingAgent } from '../history/answers.js';
import { check } from '../history/check.js';
import { Gate } from '../history/gate.js';
import { createHistory, type History } from '../history/history.js';
import { RecordedClient, type RecordedSend } from '../history/recorded-client.js';
import type { ResumeSchedule, ResumeStep } from './resume-schedule.js';

/** Milliseconds within which all has to come that is waited for. */
const WAIT_LIMIT_MS = Number(process.env.MODEL_WAIT_LIMIT_MS ?? 60_000);

type StepOf<Name extends ResumeStep['step']> = Extract<ResumeStep, { step: Name }>;

/** A client, and the proxy that only it uses. */
interface Seat {
  proxy: CuttingProxy;
  client: RecordedClient;
}

/** Plays a schedule with real clients, a real relay and a real agent, and records its history. */
export class ResumePlay {
  readonly history: History;
  readonly #schedule: ResumeSchedule;
  readonly #agent: TestAgent;
  readonly #relay: ReturnType<typeof createRelay>;
  readonly #server = createServer();
  readonly #seats: Seat[] = [];
  readonly #sends: RecordedSend[] = [];
  /** Where agents wait that are held. */
  readonly #gate: Gate;
  /** Where applications wait that are slow. */
  readonly #readers = new Gate();
  #labels = 0;
  #clients = 0;

  static async create(schedule: ResumeSchedule): Promise<ResumePlay> {
    const history = createHistory();
    const gate = new Gate();
    const agent = await startTestAgent({
      handler: recordingAgent(
        (reached) => history.reached.push(reached),
        () => gate.pass(),
      ),
    });
    const play = new ResumePlay(schedule, history, agent, gate);
    play.#server.listen(0, '127.0.0.1');
    await once(play.#server, 'listening');
    for (let seat = 0; seat < 2; seat++) await play.#seat();
    return play;
  }

  private constructor(schedule: ResumeSchedule, history: History, agent: TestAgent, gate: Gate) {
    const { busy, grace, maxBufferedBytes } = schedule;
    this.#schedule = schedule;
    this.history = history;
    this.#agent = agent;
    this.#gate = gate;
    const fail = (about: object, message: string): void => void history.failures.push(`${message} ${String(about)}`);
    this.#relay = createRelay({
      endpoint: agent.endpoint,
      busy,
      heartbeat: 0,
      resume: { grace, maxBufferedBytes },
      logger: { debug() {}, info() {}, warn() {}, error: fail },
    });
    const sockets = new WebSocketServer({ server: this.#server, ...this.#relay.wsOptions });
    sockets.on('connection', (socket, request) => this.#relay.attach(socket, request));
  }

  /** Plays the schedule to its end, and resolves to what the checker finds. */
  static async play(schedule: ResumeSchedule): Promise<string[]> {
    const play = await ResumePlay.create(schedule);
    try {
      await play.run();
      await play.leave();
      return check(play.history);
    } finally {
      await play.close();
    }
  }

  async run(): Promise<void> {
    for (const step of this.#schedule.steps) await this.#take(step);
    this.#gate.open();
    this.#readers.open();
    await Promise.all(this.#seats.map((seat) => this.#say(seat)));
    const all = Promise.all(this.#sends.map(({ settled }) => settled));
    const open = (): string =>
      this.#sends
        .filter(({ record }) => record.outcomes.length === 0)
        .map(told)
        .join(', ');
    // A send that has not ended is for the checker.
    await withDeadline(all, open, WAIT_LIMIT_MS).catch((error: Error) => this.history.failures.push(error.message));
  }

  /** The clients leave, and what is left is recorded. */
  async leave(): Promise<void> {
    const { history } = this;
    await Promise.all(this.#seats.map(({ client }) => client.close()));
    // Connections that are dead, and that no resume has replaced, are found by the heartbeat; there is none here.
    for (const { proxy } of this.#seats) proxy.cut();
    const { sessions } = this.#relay;
    await until(() => sessions.size === 0, 'all sessions end', WAIT_LIMIT_MS).catch(() => undefined);
    await this.#agent.waitFor('idle', { timeout: WAIT_LIMIT_MS }).catch(() => undefined);
    const { detached = 0, journalBytes = 0 } = this.#relay.stats();
    const { open, running } = this.#agent.counters;
    Object.assign(history.left, { chats: open, requests: running, sessions: sessions.size, detached, journalBytes });
  }

  async close(): Promise<void> {
    this.#gate.open();
    this.#readers.open();
    await this.#relay.close();
    for (const { proxy } of this.#seats) await proxy.close();
    this.#server.close();
    await this.#agent.close();
  }

  async #seat(): Promise<void> {
    const proxy = await CuttingProxy.start((this.#server.address() as AddressInfo).port);
    const seat = { proxy, client: this.#newClient(proxy) };
    this.#seats.push(seat);
    await this.#say(seat);
  }

  #newClient(proxy: CuttingProxy): RecordedClient {
    const client = new RecordedClient(this.history, `client ${++this.#clients}`, proxy.url);
    if (this.#schedule.grace < 1000) client.excuse('expiry');
    return client;
  }

  /** Another client takes the seat. */
  async #replace(seat: Seat): Promise<void> {
    // Without a connection it could not close its session.
    await this.#say(seat);
    await seat.client.close();
    seat.client = this.#newClient(seat.proxy);
    await this.#say(seat);
  }

  /**
   * Sends a message, over a connection that works. Since the relay keeps no session that is empty, the first one also
   * opens a thread that holds the session.
   */
  async #say({ client, proxy }: Seat): Promise<void> {
    proxy.cutAfter = undefined;
    client.goOnline();
    // What an application does not read, from 1 MiB on, holds up all of its session.
    this.#readers.release();
    const question = { label: this.#newLabel(), pieces: 1, size: 0, delay: 0, held: false };
    const sent = client.send(question, { agentId: 'anchor', contextId: 'anchor', stream: true });
    this.#sends.push(sent);
    client.client.wake();
    await withDeadline(sent.settled, told(sent), WAIT_LIMIT_MS).catch((error: Error) =>
      this.history.failures.push(error.message),
    );
  }

  async #take(step: ResumeStep): Promise<void> {
    if (step.step === 'pass') for (let turn = 0; turn < step.turns; turn++) await setImmediate();
    else if (step.step === 'release') {
      this.#gate.release();
      this.#readers.release();
    } else if (step.step === 'cancel') this.#cancel(step.back);
    else await this.#takeOf(step, this.#seats[step.client] as Seat);
  }

  async #takeOf(step: Exclude<ResumeStep, StepOf<'pass' | 'release' | 'cancel'>>, seat: Seat): Promise<void> {
    const { proxy, client } = seat;
    if (step.step === 'send') this.#send(client, step);
    else if (step.step === 'end') void client.end(`agent-${step.agent}`, `context-${step.context}`);
    else if (step.step === 'cut') proxy.cut();
    else if (step.step === 'black hole') proxy.abandon();
    else if (step.step === 'offline') client.goOffline();
    else if (step.step === 'online') client.goOnline();
    else if (step.step === 'steal') await this.#steal(seat, step.turns);
    else if (step.step === 'guess') await this.#guess(client, step.wrong);
    else if (step.step === 'silence') {
      proxy.silence();
      client.client.wake();
    } else if (step.step === 'cut after') {
      let { times } = step;
      proxy.cutAfter = () => (times-- > 0 ? step.bytes : Number.POSITIVE_INFINITY);
    } else await this.#replace(seat);
  }

  #send(client: RecordedClient, { agent, context, stream, pieces, size, held, slow }: StepOf<'send'>): void {
    const question = { label: this.#newLabel(), pieces, size, delay: 0, held };
    const thread = { agentId: `agent-${agent}`, contextId: `context-${context}` };
    const reading = slow ? this.#readers.pass() : undefined;
    this.#sends.push(client.send(question, { ...thread, stream, reading }));
  }

  #newLabel(): string {
    return `m${++this.#labels}`;
  }

  #cancel(back: number): void {
    const sent = this.#sends.at(-1 - back);
    for (const { client } of this.#seats) if (sent !== undefined && client.sends.includes(sent)) client.cancel(sent);
  }

  async #steal(seat: Seat, turns: number): Promise<void> {
    const { client } = seat;
    const { session, seq } = client;
    if (session === undefined) return;
    client.excuse('stolen');
    const thief = await this.#resume(client, { session, seq });
    for (let turn = 0; turn < turns; turn++) await setImmediate();
    thief.close(1000);
    await this.#replace(seat);
  }

  /** The owner must not notice. */
  async #guess({ session, seq }: RecordedClient, wrong: StepOf<'guess'>['wrong']): Promise<void> {
    if (session === undefined) return;
    const guesses = {
      secret: { session: `${session.slice(0, -4)}AAAA`, seq },
      future: { session, seq: seq + 1_000_000 },
      negative: { session, seq: -1 },
      fraction: { session, seq: 0.5 },
    };
    const socket = await this.#resume(undefined, guesses[wrong]);
    socket.close(1000);
  }

  /** Resumes a session on a socket that is not its client's. Resolves when the relay has answered. */
  async #resume(client: RecordedClient | undefined, cursor: { session: string; seq: number }): Promise<WebSocket> {
    const socket = new WebSocket(`ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/ws`);
    socket.on('error', () => undefined);
    await once(socket, 'open');
    const answer = Promise.race([once(socket, 'message'), once(socket, 'close')]);
    // So many as it may have sent; the relay asks for no fewer than have arrived.
    const sent = client === undefined ? 0 : client.record.log.length * 3;
    socket.send(JSON.stringify({ type: 'resume', ...cursor, sent }));
    await withDeadline(answer, 'an answer to the resume', WAIT_LIMIT_MS);
    return socket;
  }
}

function told({ record }: RecordedSend): string {
  return `the end of ${record.label}`;
}
