import { randomUUID } from 'node:crypto';
import { AgentBusyError } from '../protocol/errors.js';
import type { Send } from './send.js';
import type { ThreadEntry } from './store.js';
import type { ThreadTable } from './table.js';

/**
 * What a new send does where one of the same thread still runs: wait for its turn (`queue`), run beside it
 * (`parallel`), fail with -50001 (`reject`), or cancel it and take its place (`interrupt`).
 */
export type BusyPolicy = 'queue' | 'parallel' | 'reject' | 'interrupt';

/** Stands in place of an array before there is anything to be in it. */
const NONE: Send[] = [];

/** What goes on in one thread: which sends run, and which wait. */
export class Lane {
  readonly table: ThreadTable;
  readonly key: string;
  readonly agentId: string;
  readonly contextId: string | undefined;
  /** Of those that run the one that came first; mostly it is the only one. */
  #running: Send | undefined;
  #beside: Send[] = NONE;
  #waiting: Send[] = NONE;
  #starting: Send | undefined;
  #closed = false;
  #hasWarned = false;

  constructor(table: ThreadTable, key: string, agentId: string, contextId: string | undefined) {
    this.table = table;
    this.key = key;
    this.agentId = agentId;
    this.contextId = contextId;
  }

  add(send: Send): void {
    const { busy } = this.table;
    const isBusy = this.#running !== undefined || this.#waiting.length > 0;
    if (isBusy && busy === 'reject') {
      send.refuse(new AgentBusyError(`Agent "${this.agentId}" is busy with this thread`, { agentId: this.agentId }));
      return;
    }
    if (!isBusy) return this.#begin(send);
    if (this.#waiting === NONE) this.#waiting = [];
    this.#waiting.push(send);
    if (busy === 'interrupt') {
      for (const other of this.close()) if (other !== send) other.cancel();
      this.#closed = false;
    }
    this.pump();
  }

  /** Runs what may run now. */
  pump(): void {
    if (this.#closed) return;
    while (this.#waiting.length > 0 && this.#mayRun()) this.#begin(this.#waiting.shift() as Send);
    if (this.#running === undefined && this.#waiting.length === 0) this.table.idle(this);
  }

  #mayRun(): boolean {
    return this.table.busy === 'parallel' ? this.#starting === undefined : this.#running === undefined;
  }

  #begin(send: Send): void {
    if (this.#running === undefined) {
      this.#running = send;
    } else {
      if (this.#beside === NONE) this.#beside = [];
      this.#beside.push(send);
    }
    this.#run(send);
  }

  #run(send: Send): void {
    try {
      const known = this.table.store.get(this.key);
      if (known !== undefined) return send.run(known, 'messaging');
      const entry = { agentId: this.agentId, contextId: this.contextId, chatId: randomUUID() };
      this.table.open(this.key, entry);
      this.#starting = send;
      send.run(entry, 'starting');
      if (send.restarted) this.table.restarted(entry);
    } catch (error) {
      // The store is the application's own, and may fail: that must not keep others waiting.
      send.refuse(error);
    }
  }

  /** Sends again what met a lost chat: in a new one, which an other send may be starting already. */
  restart(send: Send): void {
    if (this.#starting === undefined) return this.#run(send);
    this.#stop(send);
    this.#waiting = [send, ...this.#waiting];
  }

  /** The thread is known from now on: others need not wait for it. */
  started(send: Send): void {
    if (this.#starting !== send) return;
    this.#starting = undefined;
    if (this.table.busy === 'parallel') this.pump();
  }

  /** The agent has called the chat by another name. Said once, because it may do so in every answer. */
  warnOfName(entry: ThreadEntry, named: string, message: string): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.table.warnOfName(entry, named, message);
  }

  leave(send: Send): void {
    if (this.#starting === send) this.#starting = undefined;
    if (!this.#stop(send)) remove(this.#waiting, send);
  }

  /** Whether it was one of those that run. */
  #stop(send: Send): boolean {
    if (this.#running !== send) return remove(this.#beside, send);
    this.#running = this.#beside.length > 0 ? this.#beside.shift() : undefined;
    return true;
  }

  /** Lets nothing more run. Gives all sends of the thread, in the order they came. */
  close(): Send[] {
    this.#closed = true;
    const running = this.#running === undefined ? [] : [this.#running, ...this.#beside];
    return [...running, ...this.#waiting];
  }
}

function remove(sends: Send[], send: Send): boolean {
  const at = sends.indexOf(send);
  if (at !== -1) sends.splice(at, 1);
  return at !== -1;
}
