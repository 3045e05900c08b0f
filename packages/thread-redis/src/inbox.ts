import { setTimeout as delay } from 'node:timers/promises';
import type { JsonValue } from '@arc/thread-core';
import { type Connection, duplicate, type OwnConnection, type RedisClient } from './connection.js';

/** Milliseconds for which Redis holds a read that finds nothing. */
const BLOCK = '2000';
/** Milliseconds without an answer after which a connection is taken for dead, and replaced. */
const SILENT_MS = 6000;
const MAX_MESSAGES = '100';
const FIRST_PAUSE = 50;
const MAX_PAUSE = 1000;

/** Reads a node's inbox over a connection of its own, and calls the listener with each message. */
export class InboxReader {
  readonly #client: RedisClient;
  /** For everything that does not block. */
  readonly #shared: Connection;
  readonly #key: string;
  readonly #listener: (message: JsonValue) => void;
  readonly #stopping = new AbortController();
  #connection: OwnConnection | undefined;
  #lastId = '0-0';
  readonly #done: Promise<void>;

  constructor(client: RedisClient, shared: Connection, key: string, listener: (message: JsonValue) => void) {
    this.#client = client;
    this.#shared = shared;
    this.#key = key;
    this.#listener = listener;
    this.#done = this.#run();
  }

  /** Stops reading. The listener is not called afterwards. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#close();
    await this.#done;
  }

  /** Once: ioredis waits two seconds for a connection that is closed already to be closed, and keeps the process alive. */
  #close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let pause = FIRST_PAUSE;
    while (!signal.aborted) {
      try {
        await this.#read();
        pause = FIRST_PAUSE;
      } catch {
        // Redis is away, or the connection was cut: what was not trimmed is read again.
        await delay(pause, undefined, { signal }).catch(() => undefined);
        pause = Math.min(pause * 2, MAX_PAUSE);
      }
    }
    // It may have been opened after `stop`.
    this.#close();
  }

  async #read(): Promise<void> {
    this.#connection ??= await duplicate(this.#client, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return;
    const silent = setTimeout(() => this.#close(), SILENT_MS);
    const read = ['XREAD', 'COUNT', MAX_MESSAGES, 'BLOCK', BLOCK, 'STREAMS', this.#key, this.#lastId];
    const reply = await this.#connection.call(read).finally(() => clearTimeout(silent));
    for (const [id, fields] of entriesOf(reply)) {
      if (this.#stopping.signal.aborted) return;
      this.#lastId = id;
      this.#deliver(fields[1] as string);
    }
    if (reply === null || reply === undefined) return;
    // Not awaited: a message that stays is skipped, as its id is not after the last one.
    void this.#shared.call(['XTRIM', this.#key, 'MINID', '=', after(this.#lastId)]).catch(() => undefined);
  }

  #deliver(text: string): void {
    try {
      this.#listener(JSON.parse(text) as JsonValue);
    } catch {
      // A listener that fails on one message still gets the next one.
    }
  }
}

type StreamEntry = [id: string, fields: string[]];

/** Redis answers XREAD with an array of pairs, or in RESP3 with a map, which clients present as a Map or an object. */
function entriesOf(reply: unknown): StreamEntry[] {
  if (reply === null || reply === undefined) return [];
  if (Array.isArray(reply)) return (Array.isArray(reply[0]) ? reply[0][1] : reply[1]) as StreamEntry[];
  const streams = reply instanceof Map ? [...reply.values()] : Object.values(reply);
  return streams[0] as StreamEntry[];
}

function after(id: string): string {
  const [time, number] = id.split('-');
  return `${time}-${Number(number) + 1}`;
}
