import { randomUUID } from 'node:crypto';
import { AgentBusyError } from '../protocol/errors.js';
import type { Send } from './send.js';
import type { SendQueue } from './send-queue.js';
import type { ThreadEntry } from './store.js';
import type { ThreadActions } from './thread-actions.js';

/**
 * What becomes of a send while another one of the same thread runs: it waits (`queue`), runs beside it (`parallel`),
 * fails with -50001 (`reject`), or cancels it and takes its turn (`interrupt`).
 */
export type BusyPolicy = 'queue' | 'parallel' | 'reject' | 'interrupt';

/** What a queue asks of the table that it belongs to. */
export interface QueueOwner extends ThreadActions {
  readonly busy: BusyPolicy;
  findThread(key: string): ThreadEntry | undefined;
  /** Makes a thread known, before its chat.start is sent. */
  setThread(key: string, entry: ThreadEntry): void;
  /** A chat.start was sent in place of a lost chat. */
  onRestarted(entry: ThreadEntry): void;
  /** Nothing runs or waits in the queue. */
  onIdle(queue: ThreadQueue): void;
  warnOfChatId(entry: ThreadEntry, named: string, message: string): void;
}

/** Stands in place of an array that is still empty. */
const NONE: Send[] = [];

/** The sends of one thread: which run, and which wait. */
export class ThreadQueue implements SendQueue<Send> {
  readonly key: string;
  readonly agentId: string;
  readonly contextId: string | undefined;
  readonly #owner: QueueOwner;
  /** Of the sends that run the oldest; mostly it is the only one. */
  #running: Send | undefined;
  #beside: Send[] = NONE;
  #waiting: Send[] = NONE;
  /** They fail at the end of the turn. */
  #refused: Send[] = NONE;
  #starting: Send | undefined;
  #isStopped = false;
  #hasWarned = false;

  constructor(owner: QueueOwner, key: string, agentId: string, contextId: string | undefined) {
    this.#owner = owner;
    this.key = key;
    this.agentId = agentId;
    this.contextId = contextId;
  }

  add(send: Send): void {
    const { busy } = this.#owner;
    const isBusy = this.#running !== undefined || this.#waiting.length > 0;
    if (isBusy && busy === 'reject') {
      this.#refused = [...this.#refused, send];
      send.fail(new AgentBusyError(`Agent "${this.agentId}" is busy with this thread`, { agentId: this.agentId }));
      return;
    }
    if (!isBusy) return this.#run(send);
    if (this.#waiting === NONE) this.#waiting = [];
    this.#waiting.push(send);
    if (busy === 'interrupt') {
      // Stopped meanwhile: it begins when all others are gone, and not when the first of them is.
      for (const other of this.stop()) if (other !== send) other.cancel();
      this.#isStopped = false;
    }
    this.runNext();
  }

  runNext(): void {
    if (this.#isStopped) return;
    while (this.#waiting.length > 0 && this.#mayRun()) this.#run(this.#waiting.shift() as Send, true);
    if (this.#running === undefined && this.#waiting.length === 0) this.#owner.onIdle(this);
  }

  #mayRun(): boolean {
    return this.#owner.busy === 'parallel' ? this.#starting === undefined : this.#running === undefined;
  }

  #run(send: Send, hasWaited = false): void {
    if (this.#running === undefined) {
      this.#running = send;
    } else {
      if (this.#beside === NONE) this.#beside = [];
      this.#beside.push(send);
    }
    this.#begin(send, hasWaited);
  }

  #begin(send: Send, hasWaited = false): void {
    const known = this.#owner.findThread(this.key);
    if (known !== undefined) return send.run(known, known.stateless ? 'stateless' : 'messaging', hasWaited);
    const entry = { agentId: this.agentId, contextId: this.contextId, chatId: randomUUID() };
    this.#owner.setThread(this.key, entry);
    this.#starting = send;
    send.run(entry, 'starting');
    if (send.restarted && this.#starting === send) this.#owner.onRestarted(entry);
  }

  restart(send: Send): void {
    if (this.#starting === undefined) return this.#begin(send);
    // Another send starts the new chat already.
    this.#removeRunning(send);
    this.#waiting = [send, ...this.#waiting];
  }

  onStarted(send: Send): void {
    if (this.#starting !== send) return;
    this.#starting = undefined;
    if (this.#owner.busy === 'parallel') this.runNext();
  }

  remove(send: Send): void {
    if (this.#starting === send) this.#starting = undefined;
    if (!this.#removeRunning(send) && !removeFrom(this.#waiting, send)) removeFrom(this.#refused, send);
  }

  /** Whether it was one of those that run. */
  #removeRunning(send: Send): boolean {
    if (this.#running !== send) return removeFrom(this.#beside, send);
    this.#running = this.#beside.length > 0 ? this.#beside.shift() : undefined;
    return true;
  }

  /** Sends that run, wait or are about to fail, oldest first. */
  get sends(): Send[] {
    const running = this.#running === undefined ? [] : [this.#running, ...this.#beside];
    return [...running, ...this.#waiting, ...this.#refused];
  }

  /** Removes those of its sends that were never begun, oldest first. */
  takeWaiting(isWanted: (send: Send) => boolean): Send[] {
    const waiting = this.#waiting.filter((send) => send.isWaiting && isWanted(send));
    for (const send of waiting) send.discard();
    return waiting;
  }

  /** Lets nothing more run. Gives all sends of the thread, oldest first. */
  stop(): Send[] {
    this.#isStopped = true;
    return this.sends;
  }

  /** Logged once, because an agent may do so in every answer. */
  warnOfChatId(entry: ThreadEntry, named: string, message: string): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#owner.warnOfChatId(entry, named, message);
  }
}

function removeFrom(sends: Send[], send: Send): boolean {
  const at = sends.indexOf(send);
  if (at !== -1) sends.splice(at, 1);
  return at !== -1;
}
