import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type Random, until } from '@arc/test-client';
import type { RelayFrame } from '@arc/thread-protocol';
import { WebSocket } from 'ws';
import type { History, IntrusionRecord } from '../history/history.js';
import type { Cluster } from './cluster.js';

/** A client whose session somebody else asks for. */
export interface SessionHolder {
  /** The token of its session. */
  readonly session: string | undefined;
  /** The number of the last frame that it has seen. */
  readonly seq: number;
}

/** Wrong secrets, by how somebody comes by them: of the right one, or of that of another session. */
const SECRETS: Record<string, (right: string, other: string, random: Random) => string> = {
  'a guess': (_right, _other, random) => random.bytes(24).toString('base64url'),
  'the secret of another session': (_right, other) => other,
  'the beginning of the secret': (right) => right.slice(0, -1),
  'more than the secret': (right) => `${right}A`,
  'the hash that is stored': (right) => createHash('sha256').update(right).digest('hex'),
  'no secret': () => '',
};

/** More frames than any client has sent: who says so lacks nothing but the secret. */
const SENT = 1_000_000;
/** Milliseconds between two attempts, at most. */
const PAUSE_MS = 40;
/** A node that is frozen keeps attempts waiting. */
const MAX_ATTEMPTS = 8;

/** Somebody who knows the ids of sessions, and asks any node for them, again and again, with secrets that are wrong. */
export class Impostor {
  readonly #random: Random;
  readonly #cluster: Cluster;
  readonly #holders: readonly SessionHolder[];
  readonly #history: History;
  #waiting = 0;
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(random: Random, cluster: Cluster, holders: readonly SessionHolder[], history: History) {
    this.#random = random;
    this.#cluster = cluster;
    this.#holders = holders;
    this.#history = history;
    this.#done = this.#run();
  }

  /** Asks for nothing more. Resolves when every attempt is over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
    await until(() => this.#waiting === 0, 'everybody with a wrong secret to be answered');
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#waiting < MAX_ATTEMPTS) this.#attempt();
      await wait(this.#random.below(PAUSE_MS));
    }
  }

  #attempt(): void {
    const holder = this.#random.pick(this.#holders);
    const other = this.#random.pick(this.#holders.filter((candidate) => candidate !== holder));
    const [sid, right] = split(holder);
    const secret = this.#random.pick(Object.keys(SECRETS));
    const wrong = SECRETS[secret]?.(right, split(other)[1], this.#random);
    // A balancer would not send it to a node that is frozen, but it may come from within.
    const { url } = this.#random.pick(this.#cluster.nodes);
    const record: IntrusionRecord = { secret, answers: [], code: undefined };
    this.#history.intrusions.push(record);
    this.#waiting += 1;
    const socket = new WebSocket(url);
    socket.on('open', () => {
      socket.send(JSON.stringify({ type: 'resume', session: `${sid}.${wrong}`, seq: holder.seq, sent: SENT }));
    });
    socket.on('message', (data) => {
      record.answers.push(JSON.parse(String(data)) as RelayFrame);
      // The session that is begun instead ends with the connection.
      socket.close(1000);
    });
    // It is followed by `close`.
    socket.on('error', () => undefined);
    socket.on('close', (code) => {
      record.code = code;
      this.#waiting -= 1;
    });
  }
}

/** The id and the secret of a session. */
function split({ session = '' }: SessionHolder): [string, string] {
  const dot = session.indexOf('.');
  return [session.slice(0, dot), session.slice(dot + 1)];
}
