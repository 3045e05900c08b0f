import { randomUUID } from 'node:crypto';
import { AgentBusyError } from '../protocol/errors.js';
import type { Send } from './send.js';
import type { ThreadTable } from './table.js';

/**
 * What a new send does where one of the same thread still runs: wait for its turn (`queue`), run beside it
 * (`parallel`), fail with -50001 (`reject`), or cancel it and take its place (`interrupt`).
 */
export type BusyPolicy = 'queue' | 'parallel' | 'reject' | 'interrupt';

/** What goes on in one thread: which sends run, and which wait. */
export class Lane {
  readonly table: ThreadTable;
  readonly key: string;
  readonly agentId: string;
  readonly contextId: string | undefined;
  readonly #running: Send[] = [];
  readonly #waiting: Send[] = [];
  #starting: Send | undefined;
  #closed = false;

  constructor(table: ThreadTable, key: string, agentId: string, contextId: string | undefined) {
    this.table = table;
    this.key = key;
    this.agentId = agentId;
    this.contextId = contextId;
  }

  add(send: Send): void {
    const { busy } = this.table;
    const isBusy = this.#running.length > 0 || this.#waiting.length > 0;
    if (isBusy && busy === 'reject') {
      send.refuse(new AgentBusyError(`Agent "${this.agentId}" is busy with this thread`, { agentId: this.agentId }));
      return;
    }
    if (!isBusy) return this.#begin(send);
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
    if (this.#running.length === 0 && this.#waiting.length === 0) this.table.idle(this);
  }

  #mayRun(): boolean {
    return this.table.busy === 'parallel' ? this.#starting === undefined : this.#running.length === 0;
  }

  #begin(send: Send): void {
    this.#running.push(send);
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
    this.#running.splice(this.#running.indexOf(send), 1);
    this.#waiting.unshift(send);
  }

  /** The thread is known from now on: others need not wait for it. */
  started(send: Send): void {
    if (this.#starting !== send) return;
    this.#starting = undefined;
    if (this.table.busy === 'parallel') this.pump();
  }

  leave(send: Send): void {
    if (this.#starting === send) this.#starting = undefined;
    remove(this.#running, send);
    remove(this.#waiting, send);
  }

  /** Lets nothing more run. Gives all sends of the thread, in the order they came. */
  close(): Send[] {
    this.#closed = true;
    return [...this.#running, ...this.#waiting];
  }
}

function remove(sends: Send[], send: Send): void {
  // Mostly it is the only one.
  if (sends.length === 0 || sends[sends.length - 1] === send) sends.pop();
  else if (sends.includes(send)) sends.splice(sends.indexOf(send), 1);
}
