import { setTimeout as wait } from 'node:timers/promises';
import { until } from '@arc/test-client';
import type { ClientRecord, History } from '../history/history.js';
import type { AgentProcess } from './agent.js';
import type { Cluster } from './cluster.js';

/** Between two looks at what is left. */
const LOOK_MS = 50;

export interface LeftoverExcuses {
  /** Redis may have lost data that nobody else has. */
  mayLoseData: boolean;
  /** Somebody whose sessions no client knows may have been connected to a node that was killed or shut down. */
  hasStrangers: boolean;
}

/** What is left of sessions in the store, and of chats at the agent. */
export class Leftovers {
  readonly #cluster: Cluster;
  readonly #agent: AgentProcess;
  /** The sessions that an earlier run has left, which was excused there. */
  readonly #former: ReadonlySet<string>;

  static async begin(cluster: Cluster, agent: AgentProcess): Promise<Leftovers> {
    return new Leftovers(cluster, agent, await storedSessions(cluster));
  }

  private constructor(cluster: Cluster, agent: AgentProcess, former: ReadonlySet<string>) {
    this.#cluster = cluster;
    this.#agent = agent;
    this.#former = former;
  }

  /**
   * Waits until nothing is left, and writes down what is. A chat is excused if its client has lost the session with the data of the
   * store: then no node knows of it. What is left of such a session is kept for the grace, as is that of a stranger.
   */
  async record(history: History, excuses: LeftoverExcuses, waitLimit: number | undefined): Promise<void> {
    const { mayLoseData, hasStrangers } = excuses;
    const isExcused = ({ log }: ClientRecord): boolean => mayLoseData && log.some(({ type }) => type === 'lost');
    const excused = new Set(history.clients.filter(isExcused).flatMap(({ log }) => log.map(labelOf)));
    // What the agent has got until now is in the history when it has answered.
    await this.#agent.ask('countOpen', []);
    const chats = new Set(history.reached.filter(({ label }) => !excused.has(label)).map(({ chatId }) => chatId));
    const openChats = (): Promise<number> => this.#agent.ask('countOpen', [...chats]);
    const own = ownSessions(history);
    const sessions = async (): Promise<string[]> => {
      const stored = excused.size > 0 ? [] : [...(await storedSessions(this.#cluster))];
      return stored.filter((sid) => !this.#former.has(sid) && (!hasStrangers || own.has(sid)));
    };
    const isGone = async (): Promise<boolean> => {
      // Each look takes the processor from the nodes.
      await wait(LOOK_MS);
      return (await openChats()) === 0 && (await sessions()).length === 0;
    };
    await until(isGone, 'all chats and sessions to be gone', waitLimit).catch(() => undefined);
    Object.assign(history.left, { chats: await openChats(), sessions: (await sessions()).length });
  }
}

/** The ids of all sessions of which anything is in the store: not in the lists of nodes, which end with these. */
async function storedSessions({ client }: Cluster): Promise<Set<string>> {
  const found = await Promise.all(
    (await client.keys('arc:*')).map((key) => {
      const [, list = '', sid = ''] = key.split(':');
      if (list === 's') return [sid];
      if (list === 'u') return client.smembers(key);
      return list === 'parked' || list === 'reaping' ? client.zrange(key, '0', '-1') : [];
    }),
  );
  return new Set(found.flat());
}

/** The sessions that clients were told of. */
function ownSessions({ clients }: History): Set<string> {
  const tokens = clients.flatMap(({ wire }) =>
    wire.flatMap(({ frame }) => (frame.type === 'ready' ? [frame.session] : [])),
  );
  return new Set(tokens.map((token) => token.slice(0, token.indexOf('.'))));
}

function labelOf(entry: ClientRecord['log'][number]): string | undefined {
  return entry.type === 'send' ? entry.label : undefined;
}
