import type { ArcMessage, ErrorCode, ReadyFrame, RelayFrame, ResumedReadyFrame } from '@arc/thread-protocol';
import { Acks } from './acks.js';
import { Connection, type ConnectionHost, type ConnectionOptions } from './connection.js';
import { AgentError, ClosedError, InterruptedError, LimitError, SessionLostError } from './errors.js';
import type { Emitter } from './events.js';
import type { ClientState, EndOptions, SendOptions, ThreadInfo } from './options.js';
import { Outbox } from './outbox.js';
import type { SavedSession, SessionStore } from './storage.js';
import { ClientTurn, type TurnHost } from './turn.js';

export interface SessionOptions extends ConnectionOptions {
  resume: boolean;
  store: SessionStore | undefined;
}

/** What happens on the current connection. */
type Stage = 'offline' | 'handshake' | 'replay' | 'open';

/** As a type only: the table of all codes would weigh more than this file's errors. */
const INVALID_REQUEST: typeof ErrorCode.InvalidRequest = -32_600;

/** Bounds what is remembered of threads that are gone. */
const MAX_FORGOTTEN = 1_000;

/** The turns and threads of a client, over as many connections as it takes. */
export class Session implements ConnectionHost, TurnHost {
  state: ClientState = { status: 'connecting' };
  /** Whether the relay keeps sessions; undefined until it is known. */
  resumable: boolean | undefined;
  readonly #connection: Connection;
  readonly #resume: boolean;
  readonly #events: Emitter;
  readonly #store: SessionStore | undefined;
  readonly #outbox = new Outbox();
  readonly #acks: Acks;
  /** Messages and ends that have no answer yet, by id. */
  readonly #requests = new Map<string, ClientTurn>();
  readonly #threads = new Map<string, ThreadInfo>();
  /** Threads that were lost with their session: the next turn of each is a restart. */
  readonly #forgotten = new Set<string>();
  #stage: Stage = 'offline';
  /** The secret of the session, from `ready`. */
  #secret: string | undefined;
  /** The number of the last frame of the relay that arrived. */
  #seq = 0;
  /** Makes ids that no other client, and no page before a reload, has used. */
  readonly #prefix = Math.random().toString(36).slice(2, 10);
  #ids = 0;
  /** The `ready` whose replay is under way. */
  #replay: ResumedReadyFrame | undefined;

  constructor(options: SessionOptions, events: Emitter) {
    this.#connection = new Connection(options, this);
    this.#resume = options.resume;
    this.#store = options.store;
    this.#events = events;
    this.#acks = new Acks(
      (seq) => this.#acknowledge(seq),
      () => this.#isFull(),
    );
  }

  get turns(): ClientTurn[] {
    return [...this.#requests.values()].filter(({ end }) => end === undefined);
  }

  get threads(): ThreadInfo[] {
    return [...this.#threads.values()];
  }

  connect(): void {
    this.#connection.connect();
  }

  /** See `Connection.wake`. */
  wake(always?: boolean): void {
    this.#connection.wake(always);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  send(agentId: string | undefined, message: ArcMessage, options: SendOptions): ClientTurn {
    const { contextId, traceId, stream, metadata, signal } = options;
    const turn = new ClientTurn({ id: this.#newId(), agentId, contextId, traceId }, this);
    const frame = {
      id: turn.id,
      agent_id: agentId,
      context_id: contextId,
      trace_id: traceId,
      stream,
      metadata,
      message,
    };
    const text = JSON.stringify(frame);
    if (signal?.aborted !== true) this.#request(turn, text);
    turn.cancelOn(signal);
    return turn;
  }

  end(agentId: string, { contextId, reason }: EndOptions): Promise<void> {
    const id = this.#newId();
    const frame = JSON.stringify({ type: 'end', id, agent_id: agentId, context_id: contextId, reason });
    const request = new ClientTurn({ id, agentId, contextId, end: frame }, this);
    this.#request(request, frame);
    return request.result as Promise<void>;
  }

  cancel(turn: ClientTurn): void {
    const { id, number } = turn;
    if (number === undefined) this.#outbox.withdraw(id);
    const queued = number !== undefined && this.#outbox.add({ text: JSON.stringify({ type: 'cancel', id }) });
    // The relay's answer says how the turn ended, where there is a relay to answer.
    if (queued && this.#isLive()) this.#flush();
    else {
      this.#fail(turn, turn.cancelled());
      this.#save();
    }
  }

  changed(): void {
    this.#acks.look();
  }

  isWaiting(): boolean {
    return this.#requests.size > 0;
  }

  onPhase(phase: Parameters<ConnectionHost['onPhase']>[0]): void {
    if (phase.name === 'connecting') {
      this.#setState({ status: this.#secret === undefined ? 'connecting' : 'resuming' });
      return;
    }
    const { code, reason } = phase.event;
    const wasEstablished = this.#isLive();
    this.#goOffline();
    if (phase.name === 'waiting') {
      if (wasEstablished && this.resumable !== true) this.#reset('unsupported');
      this.#setState({ status: 'waiting', retryAt: phase.retryAt, code, reason });
      return;
    }
    this.#forget((sent) => new ClosedError(code, reason, sent));
    this.#store?.clear();
    this.#setState({ status: 'closed', error: new ClosedError(code, reason) });
  }

  onOpen(): void {
    this.#stage = 'handshake';
    if (!this.#resume) {
      this.#begin(undefined, 'unsupported');
      return;
    }
    const session = this.#secret;
    this.#connection.send(
      session === undefined ? { type: 'resume' } : { type: 'resume', session, seq: this.#seq, sent: this.#outbox.sent },
    );
  }

  onMessage(text: string): void {
    let frame: RelayFrame | null;
    try {
      frame = JSON.parse(text) as RelayFrame | null;
    } catch {
      return;
    }
    if (frame === null) return;
    if (frame.type === 'ready') this.#ready(frame);
    else if (this.#stage === 'handshake') {
      // A relay that cannot resume knows no such frame, and says so. Nothing else was sent.
      if (frame.type === 'error' && frame.data.code === INVALID_REQUEST) this.#begin(undefined, 'unsupported');
    } else if (frame.type === 'ack') this.#arrived(frame.seq);
    else if (frame.type !== 'pong') this.#numbered(frame, text);
  }

  restore(saved: SavedSession): void {
    this.#secret = saved.session;
    this.#seq = saved.seq;
    this.#outbox.sent = saved.sent;
    this.#outbox.entries = saved.outbox;
    for (const thread of saved.threads) this.#open(thread);
    for (const fields of saved.requests) {
      const request = new ClientTurn(fields, this);
      request.number = fields.number;
      this.#requests.set(request.id, request);
      request.restore(this.#store?.read(request.id));
    }
  }

  /** What is stored belongs to another tab: starts over, as if nothing had been stored. */
  abandon(): void {
    this.#forget(() => new SessionLostError('duplicate'));
  }

  #request(request: ClientTurn, text: string): void {
    const { id } = request;
    if (this.state.status === 'closed') {
      request.fail(this.state.error);
      return;
    }
    if (!this.#outbox.add({ text, id }, this.#connection.buffered)) {
      request.fail(new LimitError('QUEUE_FULL', 'Too many messages wait to be sent'));
      return;
    }
    this.#requests.set(id, request);
    this.#flush();
    // Closed for being idle: the client connects again when it has something to say.
    if (this.state.status === 'waiting' && this.state.retryAt === undefined) this.connect();
  }

  /** Sends what was never sent. What is stored says so before it leaves. */
  #flush(): void {
    const entries = this.#isLive() ? this.#outbox.take() : [];
    for (const { id = '', number } of entries) {
      const request = this.#requests.get(id);
      if (request !== undefined) request.number = number;
    }
    this.#save();
    for (const { text } of entries) this.#connection.send(text);
    // Nobody will say what has arrived.
    if (entries.length > 0 && this.resumable !== true) this.#outbox.arrived(this.#outbox.sent);
  }

  #ready(frame: ReadyFrame): void {
    if (this.#stage !== 'handshake') return;
    this.#acks.policy = frame.ack;
    if (frame.resumed !== true) {
      this.#begin(frame.session, frame.reason ?? 'unknown');
      return;
    }
    this.#replay = frame;
    this.#outbox.arrived(frame.got);
    this.#established(true);
  }

  /** A new session begins, and one that was before it is gone. */
  #begin(secret: string | undefined, reason: SessionLostError['reason']): void {
    this.#reset(reason);
    this.#secret = secret;
    this.#established(secret !== undefined);
  }

  #established(resumable: boolean): void {
    this.resumable = resumable;
    const resent = this.#outbox.entries.filter(({ number }) => number !== undefined);
    this.#stage = this.#replay === undefined ? 'open' : 'replay';
    this.#acks.start(this.#seq);
    this.#connection.established();
    for (const { text } of resent) this.#connection.send(text);
    if (this.#replay === undefined) this.#setState({ status: 'open', resumable, resumed: false });
    this.#flush();
    this.#judgeReplay();
  }

  /** Once everything up to `ready.seq` has arrived it is known which sends have been lost. */
  #judgeReplay(): void {
    const replay = this.#replay;
    if (replay === undefined || this.#seq < replay.seq) return;
    this.#replay = undefined;
    this.#stage = 'open';
    const pending = new Set(replay.pending);
    for (const request of this.#requests.values()) {
      const { id, number, end } = request;
      if (number === undefined || number > replay.got || pending.has(id)) continue;
      if (end === undefined) this.#fail(request, new InterruptedError());
      else this.#outbox.add({ text: end, id });
    }
    this.#setState({ status: 'open', resumable: true, resumed: true });
    this.#flush();
  }

  #numbered(frame: RelayFrame, text: string): void {
    if (this.resumable === true && 'seq' in frame && frame.seq !== undefined) {
      if (frame.seq <= this.#seq) return;
      if (frame.seq !== this.#seq + 1) {
        this.#connection.drop('frame missing');
        return;
      }
      this.#seq = frame.seq;
      this.#dispatch(frame, text);
      this.#acks.received(this.#seq, text.length);
      this.#judgeReplay();
    } else this.#dispatch(frame, text);
  }

  #dispatch(frame: RelayFrame, text: string): void {
    const request = 'id' in frame && typeof frame.id === 'string' ? this.#requests.get(frame.id) : undefined;
    if (request === undefined) {
      // An error with an id is about a turn that is settled.
      if (frame.type === 'error' && frame.id === undefined) this.#events.emit('error', new AgentError(frame.data));
      return;
    }
    this.#connection.progressed();
    // A thread is open from the first that the agent says in it.
    if (frame.type === 'content' || frame.type === 'response' || frame.type === 'done') this.#open(request);
    request.receive(frame, text.length);
    if (request.settled) this.#settled(request, frame.type === 'ended');
    else this.#store?.append(request.id, text);
  }

  /** A request has ended, in whatever way. */
  #settled(request: ClientTurn, ended: boolean): void {
    this.#remove(request);
    const key = keyOf(request);
    if (ended) this.#threads.delete(key);
    if (this.#forgotten.delete(key)) request.restarted = true;
    this.#save();
    this.#acks.look();
  }

  #fail(request: ClientTurn, error: Error): void {
    request.fail(error);
    this.#remove(request);
  }

  #remove(request: ClientTurn): void {
    this.#requests.delete(request.id);
    if (request.error instanceof InterruptedError) this.#events.emit('interrupted', request, request.error);
  }

  #arrived(number: number): void {
    this.#outbox.arrived(number);
    this.#save();
  }

  #acknowledge(seq: number): void {
    if (this.#stage === 'offline') return;
    this.#save();
    this.#connection.send({ type: 'ack', seq });
  }

  #goOffline(): void {
    this.#acks.stop();
    this.#replay = undefined;
    this.#stage = 'offline';
    for (const turn of this.turns) {
      // The relay can't say any more how a cancelled turn ended.
      if (turn.cancelling) this.#fail(turn, turn.cancelled());
    }
  }

  /** The session is gone, and with it everything that was sent in it. */
  #reset(reason: SessionLostError['reason']): void {
    const error = new SessionLostError(reason);
    let isLost = this.#threads.size > 0;
    for (const request of this.#requests.values()) {
      if (request.number === undefined) continue;
      if (request.end === undefined) isLost = true;
      // An `end` has nothing left to end.
      else request.finish(undefined);
      this.#fail(request, error);
    }
    this.#forgetThreads();
    // What was never sent waits for the new session.
    this.#outbox.arrived(this.#outbox.sent);
    this.#outbox.sent = 0;
    this.#seq = 0;
    if (isLost) this.#events.emit('lost', error);
  }

  /** Ends everything, and starts over with nothing. */
  #forget(errorFor: (sent: boolean) => Error): void {
    for (const request of this.#requests.values()) {
      this.#fail(request, errorFor(request.number !== undefined));
    }
    this.#secret = undefined;
    this.#forgetThreads();
    this.#reset('unknown');
    this.#outbox.entries = [];
  }

  #open({ agentId, contextId }: ThreadInfo): void {
    this.#threads.set(keyOf({ agentId, contextId }), { agentId, contextId });
  }

  #newId(): string {
    return `${this.#prefix}-${++this.#ids}`;
  }

  #forgetThreads(): void {
    if (this.#forgotten.size > MAX_FORGOTTEN) this.#forgotten.clear();
    for (const key of this.#threads.keys()) this.#forgotten.add(key);
    this.#threads.clear();
  }

  #isLive(): boolean {
    return this.#stage === 'open' || this.#stage === 'replay';
  }

  #isFull(): boolean {
    for (const request of this.#requests.values()) {
      if (request.buffer.full) return true;
    }
    return false;
  }

  #setState(state: ClientState): void {
    this.state = state;
    this.#events.emit('state', state);
  }

  #save(): void {
    this.#store?.save({
      session: this.#secret,
      seq: this.#seq,
      sent: this.#outbox.sent,
      outbox: this.#outbox.entries,
      requests: Array.from(this.#requests.values(), ({ fields, number }) => ({ ...fields, number })),
      threads: this.threads,
    });
  }
}

function keyOf({ agentId, contextId }: Pick<ThreadInfo, 'agentId' | 'contextId'>): string {
  return JSON.stringify([agentId, contextId]);
}
