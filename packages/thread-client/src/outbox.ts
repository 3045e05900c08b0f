/** A frame of this client, as text. */
export interface Entry {
  text: string;
  /** The turn or `end` that it begins. */
  readonly id?: string | undefined;
  /** Its number in the session, given when it is first sent. */
  number?: number | undefined;
  /** On how many connections it was the first to be sent. Beyond `MAX_TRIES` it is given up. */
  tries: number;
}

const MAX_ENTRIES = 1_000;
const MAX_SIZE = 1_048_576;
/** Many, because a network that fails so often by itself must not cost a message. */
export const MAX_TRIES = 10;

/** The frames that wait to be sent, and those that were sent but are not known to have arrived. */
export class Outbox {
  /** How many frames were sent in this session. */
  sent = 0;
  entries: Entry[] = [];

  /**
   * False if too much waits already, `elsewhere` included (in characters). A single frame always has room, and so has a
   * `cancel`, which has no id here: without it the agent would go on.
   */
  add(entry: Entry, elsewhere: number): boolean {
    const size = this.entries.reduce((sum, other) => sum + other.text.length, elsewhere);
    const isFull = this.entries.length >= MAX_ENTRIES || (size > 0 && size + entry.text.length > MAX_SIZE);
    if (isFull && entry.id) return false;
    this.entries.push(entry);
    return true;
  }

  /**
   * Numbers the entries that were never sent, and gives them in order. With `again`, when a connection begins, gives all,
   * counted from `sent`: what was sent before has not arrived. The first of them may be what loses the connections, so its
   * tries are limited.
   */
  take(again: boolean | undefined): Entry[] {
    const due = this.entries.filter(({ number }) => again || !number);
    for (const entry of due) entry.number = ++this.sent;
    const [first] = due;
    if (again && first?.id && ++first.tries > MAX_TRIES) {
      // Another frame has to take its number. A cancel without its message changes nothing, and has no answer.
      first.text = JSON.stringify({ type: 'cancel', id: first.id });
    }
    return due;
  }

  /**
   * Drops what has arrived: the frames up to and including this number. What is no number drops nothing. `entries`: those of
   * the page before a reload.
   */
  arrived(last: number, entries = this.entries): void {
    this.entries = entries.filter(({ number }) => !((number as number) <= last));
  }

  /** Drops the frame of a turn that has ended: it need not be sent, or not again. */
  withdraw(id: string): void {
    this.entries = this.entries.filter((entry) => entry.id !== id);
  }
}
