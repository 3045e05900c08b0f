import type { ArcMessage, RelayFrame, ResumedReadyFrame } from '@arc/thread-protocol';
import { Channel, type ChannelHost, type ChannelOptions } from './channel.js';
import { AgentError, ClosedError, InterruptedError, LimitError, SessionLostError } from './errors.js';
import type { Emitter } from './events.js';
import type { EndOptions, SendOptions } from './options.js';
import { type Entry, MAX_TRIES } from './outbox.js';
import { randomName } from './random-name.js';
import type { SavedSession, SessionStore } from './storage.js';
import { OpenThreads } from './threads.js';
import { ClientTurn, type TurnHost } from './turn.js';

export interface SessionOptions extends ChannelOptions {
  store: SessionStore | undefined;
}

const isSent = ({ number }: ClientTurn): boolean => (number as number) < Infinity;

/** The turns and threads of a client. */
export class Session implements ChannelHost, TurnHost {
  declare readonly channel: Channel;
  readonly threads = new OpenThreads();
  declare readonly events: Emitter;
  declare readonly store: SessionStore | undefined;
  /** Messages and `end` frames that have no answer yet, by id. */
  readonly #requests = new Map<string, ClientTurn>();
  /** Begins each id, so that no other client, and no page before a reload, has used it. */
  readonly #prefix = randomName();
  #ids = 0;

  constructor(options: SessionOptions, events: Emitter) {
    this.channel = new Channel(options, this);
    this.store = options.store;
    this.events = events;
  }

  get turns(): ClientTurn[] {
    // `end` frames are kept as requests, too.
    return [...this.#requests.values()].filter(({ end }) => !end);
  }

  send(agentId: string | undefined, message: ArcMessage, options: SendOptions): ClientTurn {
    const { contextId, traceId, stream, metadata, traceContext, signal } = options;
    const turn = new ClientTurn({ id: this.#newId(), agentId, contextId, traceId }, this);
    if (!signal?.aborted) {
      this.#enqueue(turn, {
        id: turn.id,
        agent_id: agentId,
        context_id: contextId,
        trace_id: traceId,
        stream,
        metadata,
        ...traceContext,
        message,
      });
    }
    turn.cancelOn(signal);
    return turn;
  }

  end(agentId: string, { contextId, reason }: EndOptions): Promise<void> {
    const id = this.#newId();
    const end = { type: 'end', id, agent_id: agentId, context_id: contextId, reason };
    const request = new ClientTurn({ id, agentId, contextId, end }, this);
    this.#enqueue(request, end);
    return request.result as Promise<void>;
  }

  cancel(turn: ClientTurn): void {
    // If the relay can answer, its answer says how the turn ended.
    if (!isSent(turn) || !this.channel.add({ type: 'cancel', id: turn.id }) || !this.channel.isLive) {
      this.#fail(turn, turn.cancelled());
    }
    this.channel.flush();
  }

  onFullChange(): void {
    this.channel.acks.look();
  }

  restore(saved: SavedSession): void {
    this.channel.restore(saved);
    for (const thread of saved.threads) this.threads.add(thread);
    for (const fields of saved.requests) {
      const request = new ClientTurn(fields, this);
      request.number = fields.number ?? Infinity;
      this.#requests.set(request.id, request);
      request.restore(this.store?.read(request.id));
    }
  }

  /** What is stored belongs to another tab or relay: starts over, with nothing but what this page has sent itself. */
  abandon(reason: SessionLostError['reason']): void {
    this.onReset(reason, Infinity);
    this.channel.forget();
  }

  isWaiting(): boolean {
    return this.#requests.size > 0;
  }

  isFull(): boolean {
    return this.turns.some(({ buffer }) => buffer.full);
  }

  onNumbered({ id = '', number, tries }: Entry): void {
    const request = this.#requests.get(id);
    if (!request) return;
    request.number = number;
    if (tries > MAX_TRIES) this.#fail(request, new LimitError('UNSENT'));
  }

  onFrame(frame: RelayFrame, text: string): void {
    const { id } = frame as { id?: string };
    const request = this.#requests.get(id ?? '');
    if (!request) {
      // An error with an id belongs to a turn that has already ended.
      if (frame.type === 'error' && id === undefined) void this.events.emit('error', new AgentError(frame.data));
      return;
    }
    this.channel.connection.failures = 0;
    // A thread is open once the agent has said something in it.
    if (frame.type === 'content' || frame.type === 'response' || frame.type === 'done') this.threads.add(request);
    request.receive(frame, text.length);
    if (!request.settled) return this.store?.append(request.id, text);
    this.#remove(request);
    if (frame.type === 'ended') this.threads.remove(request);
    if (this.threads.takeLost(request)) request.restarted = true;
    this.save();
    this.onFullChange();
  }

  onOffline(): void {
    for (const turn of this.#requests.values()) {
      // The relay can't say any more how a cancelled turn ended.
      if (turn.cancelling) this.#fail(turn, turn.cancelled());
    }
  }

  onReplayed({ got, pending }: ResumedReadyFrame): void {
    for (const request of this.#requests.values()) {
      const { id, number, end } = request;
      // A message without a number was never sent. A relay may name one pending message without a list, or none.
      if (!((number as number) <= got) || [pending].flat().includes(id)) continue;
      // It arrived, and the relay no longer works on it: its answer is lost. An `end` is repeated.
      if (end) this.channel.add(end, id, true);
      else this.#fail(request, new InterruptedError());
    }
  }

  onReset(reason: SessionLostError['reason'], received: number): void {
    const error = new SessionLostError(reason);
    let isLost = this.threads.lose();
    for (const request of this.#requests.values()) {
      const { number, end } = request;
      request.number = undefined;
      // What never arrived, or was never sent and has no number, waits for the new session.
      if (!((number as number) <= received)) continue;
      // The thread is gone, so the `end` has succeeded. `#fail` then only removes it.
      if (end) request.finish(undefined);
      else isLost = true;
      this.#fail(request, error);
    }
    if (isLost) void this.events.emit('lost', error);
  }

  onClosed(code: number, reason: string): void {
    for (const request of this.#requests.values()) this.#fail(request, new ClosedError(code, reason, isSent(request)));
    this.threads.lose();
    this.channel.forget();
    this.store?.clear();
  }

  save(): void {
    this.store?.save({
      ...this.channel.saved,
      requests: [...this.#requests.values()].map(({ fields, number }) => ({ ...fields, number })),
      threads: this.threads.list,
    });
  }

  #enqueue(request: ClientTurn, frame: object): void {
    const { state } = this.channel;
    if (state.status === 'closed') request.fail(state.error);
    else if (!this.channel.add(frame, request.id)) request.fail(new LimitError('QUEUE_FULL'));
    else {
      this.#requests.set(request.id, request);
      this.channel.flush();
    }
  }

  #fail(request: ClientTurn, error: Error): void {
    request.fail(error);
    this.#remove(request);
  }

  /** Forgets a request and its frame, and tells the application if it was interrupted. */
  #remove(request: ClientTurn): void {
    this.#requests.delete(request.id);
    this.channel.outbox.withdraw(request.id);
    if (request.error instanceof InterruptedError) void this.events.emit('interrupted', request, request.error);
  }

  #newId(): string {
    return `${this.#prefix}-${++this.#ids}`;
  }
}
