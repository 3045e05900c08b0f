import { type JournalSlice, type JsonValue, type ReapedSession, type SessionState, StoreError } from '@arc/thread-core';

type Threads = SessionState['threads'];

/** An identity key as it is stored: no key, and an empty one, are two things. */
export function keyField(identityKey: string | undefined): string {
  return identityKey === undefined ? '' : `=${identityKey}`;
}

export function writeThreads(threads: Threads): string[] {
  return Object.entries(threads).flatMap(([key, entry]) => [key, JSON.stringify(entry)]);
}

/** A session's state as the arguments of a script. */
export function writeState({ seq, got, pending, waiting, threads, journal }: SessionState): string[] {
  const progress = [String(seq), String(got), JSON.stringify(pending), JSON.stringify(waiting)];
  const counts = [String(journal.firstSeq), String(Object.keys(threads).length)];
  return [...progress, ...counts, ...writeThreads(threads), ...journal.frames];
}

/** Reads the fields of a session's hash. */
export function readRecord(sid: string | undefined, fields: string[]): ReapedSession {
  const record = new Map<string, string>();
  const threads: Threads = {};
  for (let at = 0; at < fields.length; at += 2) {
    const [name, value] = [fields[at] as string, fields[at + 1] as string];
    if (name.startsWith('t:')) threads[name.slice(2)] = parse<Threads[string]>(value);
    else record.set(name, value);
  }
  const field = (name: string): string => record.get(name) ?? '';
  const epoch = Number(field('epoch'));
  const identity = field('identity');
  const key = field('key');
  const session = {
    sid: sid ?? field('sid'),
    identityKey: key === '' ? undefined : key.slice(1),
    identity: identity === '' ? undefined : parse<JsonValue>(identity),
    grace: Number(field('grace')),
    seq: Number(field('seq')),
    got: Number(field('got')),
    pending: parse<(string | number)[]>(field('pending')),
    waiting: parse<string[]>(field('waiting')),
    threads,
    exact: Number(field('exact')) === epoch - 1,
  };
  return { owned: { sid: session.sid, epoch, node: field('owner'), incarnation: field('incarnation') }, session };
}

/** Entries of a journal's stream, but for the frames up to a number. */
export function frames(entries: [id: string, fields: string[]][], afterSeq: number): JournalSlice | undefined {
  const [first] = entries;
  if (first === undefined) return undefined;
  const firstSeq = Number(first[1][1]);
  const all = entries.flatMap(([, fields]) => fields.filter((_, at) => at > 1 && at % 2 === 1));
  const known = Math.max(0, afterSeq + 1 - firstSeq);
  return { firstSeq: firstSeq + known, frames: all.slice(known) };
}

/** @typeParam T what this store has written there */
function parse<T>(text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new StoreError('failed', 'A stored session cannot be read', { cause });
  }
}
