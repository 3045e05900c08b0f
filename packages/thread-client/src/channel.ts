import type { AckPolicy, NewSessionReadyFrame, ReadyFrame, RelayFrame, ResumedReadyFrame } from '@arc/thread-protocol';
import { type AckHost, Acks } from './acks.js';
import { Connection, type ConnectionHost, type ConnectionOptions, type NewPhase } from './connection.js';
import { ClosedError, type SessionLostError } from './errors.js';
import type { Emitter } from './events.js';
import type { ClientState } from './options.js';
import { type Entry, Outbox } from './outbox.js';
import type { SavedChannel } from './storage.js';

export interface ChannelOptions extends ConnectionOptions {
  resume: boolean;
}

/** What a channel needs of its session. */
export interface ChannelHost {
  readonly events: Emitter;
  /** Whether acknowledgements are held back, because a loop is slow. */
  isFull(): boolean;
  /** Whether answers are outstanding. */
  isWaiting(): boolean;
  /** A frame has its number, or is sent again. It leaves as soon as that is saved. */
  onNumbered(entry: Entry): void;
  onFrame(frame: RelayFrame, text: string): void;
  /** A connection was lost. */
  onOffline(): void;
  /** A session was continued, and everything up to `ready.seq` has arrived. */
  onReplayed(ready: ResumedReadyFrame): void;
  /** The session is gone. Frames after the number `received` never arrived, and wait to be sent again. */
  onReset(reason: SessionLostError['reason'], received: number): void;
  /** The session that was restored is another relay's. */
  abandon(reason: SessionLostError['reason']): void;
  onClosed(code: number, reason: string): void;
  /** Stores what outlives the page. */
  save(): void;
}

/**
 * Frames in both directions, each once and in order, over as many connections as it takes: numbers, acknowledgements,
 * and what is sent again. If the relay does not resume sessions, a channel lasts as long as its connection.
 */
export class Channel implements ConnectionHost, AckHost {
  state: ClientState = { status: 'connecting' };
  /** Whether the relay keeps sessions; undefined until it is known. */
  declare resumable: boolean | undefined;
  readonly #host: ChannelHost;
  declare readonly connection: Connection;
  readonly #resume: boolean;
  readonly outbox = new Outbox();
  /** To be asked to `look` when what `isFull` says may have changed. */
  declare readonly acks: Acks;
  /** The secret of the session, from `ready`. */
  #secret: string | undefined;
  /** Where the session was last established. */
  #place: string | undefined;
  /** The number of the last frame of the relay that arrived. */
  #seq = 0;
  /** The `ready` whose replay is under way. */
  #replay: ResumedReadyFrame | undefined;

  constructor(options: ChannelOptions, host: ChannelHost) {
    this.#host = host;
    this.connection = new Connection(options, this);
    this.#resume = options.resume;
    this.acks = new Acks(this);
  }

  /** Queued frames are sent at once. Not during a replay: what it shows to be lost may have to be repeated before them. */
  get isLive(): boolean {
    return this.#isEstablished && !this.#replay;
  }

  get #isEstablished(): boolean {
    return this.connection.phase.status === 'established';
  }

  /** What outlives the page. */
  get saved(): SavedChannel {
    return { place: this.#place, session: this.#secret, seq: this.#seq, ...this.outbox };
  }

  restore({ place, session, seq = 0, sent = 0, entries }: Partial<SavedChannel>): void {
    // First, because it throws if they are no entries: then nothing else is taken over.
    this.outbox.arrived(0, entries);
    this.outbox.sent = sent;
    this.#place = place;
    this.#secret = session;
    this.#seq = seq;
  }

  /**
   * Queues a frame for `flush`. `id`: of the turn or `end` that it begins, for which too much may wait already: then false. `lost`: the
   * relay had the frame and lost it, so that it goes before all that were never sent.
   */
  add(frame: object, id?: string, lost?: boolean): boolean {
    const entry = { text: JSON.stringify(frame), id, tries: 0 };
    // What a resumable session has sent is kept until it has arrived, so it is counted already.
    const elsewhere = this.resumable ? 0 : this.connection.buffered;
    return lost ? this.outbox.entries.unshift(entry) > 0 : this.outbox.add(entry, elsewhere);
  }

  /** Sends what was never sent, if there is a connection, or all `again`. What is stored says so before it leaves. */
  flush(again?: boolean): void {
    const entries = this.isLive ? this.outbox.take(again) : [];
    for (const entry of entries) this.#host.onNumbered(entry);
    this.#host.save();
    for (const { text } of entries) this.connection.send(text);
    // There are no acknowledgements, so what was sent counts as arrived.
    if (entries.length && !this.resumable) this.outbox.arrived(this.outbox.sent);
    // Closed for being idle: it connects again when there is something to say.
    if (this.state.status === 'waiting' && this.state.retryAt === undefined) this.connection.connect();
  }

  /** Starts over without a session, with what waits to be sent. */
  forget(): void {
    this.restore(this.outbox);
  }

  isFull(): boolean {
    return this.#host.isFull();
  }

  isWaiting(): boolean {
    return this.#host.isWaiting();
  }

  onPhase(phase: NewPhase): void {
    if (phase.status === 'connecting') {
      return this.#setState({ status: this.#secret ? 'resuming' : 'connecting' });
    }
    this.acks.stop();
    this.#replay = undefined;
    this.#host.onOffline();
    if (phase.status === 'waiting') {
      // If the session ended with the connection. If there was none yet, there is nothing to lose.
      if (!this.#secret) this.#reset('unsupported');
      this.#setState(phase);
    } else {
      const { code, reason } = phase;
      this.#host.onClosed(code, reason);
      this.#setState({ status: 'closed', error: new ClosedError(code, reason) });
    }
  }

  onOpen(): void {
    // The page before may have had another relay. While a page lives, its function `url` decides.
    const isNew = this.resumable === undefined;
    if (isNew && this.#place && this.#place !== this.connection.place) this.#host.abandon('unknown');
    const session = this.#secret;
    const cursors = session && { session, seq: this.#seq, sent: this.outbox.sent };
    if (this.#resume) this.connection.send({ type: 'resume', ...cursors });
    else this.#begin();
  }

  onMessage(text: string): void {
    try {
      // Never null: what is no object becomes one that says nothing.
      this.#read(Object(JSON.parse(text)) as RelayFrame, text);
    } catch (error) {
      // The session is given up: a relay that continues it would send the same frame again.
      this.#reset('gap');
      this.#secret = undefined;
      this.connection.drop(String(error));
      void this.#host.events.emit('error', error);
    }
  }

  #read(frame: RelayFrame, text: string): void {
    if (!this.#isEstablished) {
      if (frame.type === 'ready') this.#onReady(frame);
      // A relay that cannot resume knows no such frame, and says so. Nothing else was sent.
      else if (frame.type === 'error') this.#begin();
    } else if (frame.type === 'ack') {
      this.outbox.arrived(frame.seq);
      this.#host.save();
    } else if (frame.type !== 'pong') this.#numbered(frame, text);
  }

  #onReady(frame: ReadyFrame): void {
    // Without rules each frame is acknowledged soon.
    this.acks.policy = Object(frame.ack) as AckPolicy;
    // If the relay says that it got what was not sent, or does not say what, its session counts as lost.
    if (frame.resumed === true && frame.got <= this.outbox.sent) {
      this.#replay = frame;
      this.outbox.arrived(frame.got);
      this.#ready();
    } else {
      const { session, reason = 'unknown', received } = frame as NewSessionReadyFrame;
      this.#begin(session, reason, received);
    }
  }

  /** A new session begins, and one that was before it is gone. Without a secret the relay keeps none. */
  #begin(secret?: string, reason: SessionLostError['reason'] = 'unsupported', received?: number): void {
    this.#reset(reason, received);
    this.#secret = secret;
    this.#ready();
  }

  /** Without `received` it is not known what has arrived: all of it may have. */
  #reset(reason: SessionLostError['reason'], received = this.outbox.sent): void {
    this.#seq = 0;
    // What had not arrived is sent again, under new numbers.
    this.outbox.arrived(received);
    this.outbox.sent = 0;
    this.#host.onReset(reason, received);
  }

  #ready(): void {
    this.resumable = this.#secret !== undefined;
    this.#place = this.connection.place;
    this.acks.start(this.#seq);
    this.connection.established();
    this.#judgeReplay();
  }

  /**
   * Once everything up to `ready.seq` has arrived it is known which frames the relay has lost. What was never sent waits for
   * it: those may have to be repeated before.
   */
  #judgeReplay(): void {
    const replay = this.#replay;
    if (replay) {
      if (this.#seq < replay.seq) return;
      this.#host.onReplayed(replay);
      this.#replay = undefined;
      this.outbox.sent = replay.got;
    }
    this.flush(true);
    this.#setState({ status: 'open', resumable: this.resumable as boolean, resumed: replay !== undefined });
  }

  #numbered(frame: RelayFrame, text: string): void {
    const { seq } = frame as { seq?: number };
    if (!this.resumable || seq === undefined) this.#host.onFrame(frame, text);
    else if (seq > this.#seq + 1) this.connection.drop('gap');
    else if (seq > this.#seq) {
      this.#seq = seq;
      this.#host.onFrame(frame, text);
      this.acks.received(this.#seq, text.length);
      if (this.#replay) this.#judgeReplay();
    }
  }

  acknowledge(seq: number): void {
    if (!this.#isEstablished) return;
    this.#host.save();
    this.connection.send({ type: 'ack', seq });
  }

  #setState(state: ClientState): void {
    this.state = state;
    void this.#host.events.emit('state', state);
  }
}
