/** A frame of this client, as it goes on the wire. */
export interface Entry {
  /** Names the entry in this client, in the order in which entries were made. */
  readonly key: number;
  readonly text: string;
  /** Its number in the session, given when it is first sent. */
  number: number | undefined;
}

const MAX_ENTRIES = 1_000;
const MAX_SIZE = 1_048_576;

/** The frames that wait to be sent, and those that were sent but are not known to have arrived. */
export class Outbox {
  /** How many frames were sent in this session. */
  sent = 0;
  #entries: Entry[] = [];
  #size = 0;
  #keys = 0;

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** Undefined if too much waits already. A single frame always has room; `pending` is what waits elsewhere. */
  add(text: string, pending = 0): Entry | undefined {
    const size = this.#size + pending;
    if (this.#entries.length >= MAX_ENTRIES || (size > 0 && size + text.length > MAX_SIZE)) return undefined;
    const entry: Entry = { key: ++this.#keys, text, number: undefined };
    this.#put(entry);
    return entry;
  }

  /** Takes an entry over that was stored. */
  restore(entry: Entry): void {
    this.#keys = Math.max(this.#keys, entry.key);
    this.#put(entry);
  }

  /** Numbers the entries that were never sent, and gives them in order. */
  take(): Entry[] {
    const unsent = this.#entries.filter(({ number }) => number === undefined);
    for (const entry of unsent) entry.number = ++this.sent;
    return unsent;
  }

  /** Drops what has arrived: the frames up to and including this number. */
  arrived(number: number): Entry[] {
    return this.#drop((entry) => entry.number !== undefined && entry.number <= number);
  }

  /** Drops an entry that was never sent. */
  withdraw(entry: Entry): void {
    this.#drop((other) => other === entry);
  }

  /** A new session begins: what was sent in the old one is dropped, the rest waits for the new one. */
  restart(): Entry[] {
    this.sent = 0;
    return this.#drop(({ number }) => number !== undefined);
  }

  clear(): void {
    this.#drop(() => true);
  }

  #put(entry: Entry): void {
    this.#entries.push(entry);
    this.#size += entry.text.length;
  }

  #drop(which: (entry: Entry) => boolean): Entry[] {
    const dropped = this.#entries.filter(which);
    if (dropped.length > 0) this.#entries = this.#entries.filter((entry) => !which(entry));
    for (const { text } of dropped) this.#size -= text.length;
    return dropped;
  }
}
