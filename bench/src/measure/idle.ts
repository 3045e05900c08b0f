import { ECHO, type HostKind } from '../hosts/kinds.js';
import type { IdleRow } from './results.js';
import { type Host, type Stage, startStage } from './stage.js';
import { spreadOf } from './stats.js';

/** Connections that are opened before the measurement, to exclude what a process allocates once. */
const FIRST = 200;

/** Goal: RSS of an idle connection, as a multiple of the framework's echo socket. */
const GOAL = 1.2;

interface Bytes {
  fresh: number;
  used: number;
  heap: number;
  /** V8 heap of a resumable session whose connection was lost after one message. */
  detached: number | undefined;
}

interface IdleOptions {
  hosts: readonly HostKind[];
  rounds: number;
  connections: number;
  onRound(host: HostKind, round: number, bytes: Bytes): void;
}

/** Opens many connections to a new process of each host, and measures the memory that they add. */
export async function measureIdle({ hosts, rounds, connections, onRound }: IdleOptions): Promise<IdleRow[]> {
  const echoes = hosts.flatMap((host) => ECHO[host] ?? []);
  const kinds = [...new Set([...hosts, ...echoes])];
  const found = new Map<HostKind, Bytes[]>(kinds.map((kind) => [kind, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const kind of kinds) {
      await using stage = await startStage([kind], 1);
      const [host] = stage.hosts;
      if (host === undefined) continue;
      const bytes = await measureOne(stage, host, connections);
      found.get(kind)?.push(bytes);
      onRound(kind, round, bytes);
    }
  }
  return kinds.map((host): IdleRow => {
    const own = found.get(host) ?? [];
    const echo = ECHO[host];
    const base = echo === undefined ? undefined : (found.get(echo) ?? []);
    const ratio = (of: 'fresh' | 'used' | 'heap') =>
      base === undefined
        ? undefined
        : spreadOf(own.map((bytes, round) => bytes[of] / (base[round]?.[of] ?? Number.NaN)));
    return {
      host,
      connections,
      rounds,
      fresh: spreadOf(own.map(({ fresh }) => fresh)),
      used: spreadOf(own.map(({ used }) => used)),
      heap: spreadOf(own.map(({ heap }) => heap)),
      freshRatio: ratio('fresh'),
      usedRatio: ratio('used'),
      heapRatio: ratio('heap'),
      goal: echo === undefined || host === 'floor' || host === 'resume' ? undefined : GOAL,
      ...resumable(host, own, base),
    };
  });
}

/** What a resumable session adds to one that is not, and what is left of it without its connection. */
function resumable(host: HostKind, own: readonly Bytes[], base: readonly Bytes[] | undefined): Partial<IdleRow> {
  if (host !== 'resume' || base === undefined) return {};
  const more = own.map(({ heap }, round) => heap - (base[round]?.heap ?? Number.NaN));
  return { more: spreadOf(more), detached: spreadOf(own.map(({ detached }) => detached ?? Number.NaN)) };
}

async function measureOne({ load }: Stage, { kind, process, url }: Host, connections: number): Promise<Bytes> {
  const sends = { name: 'idle', agents: ['support'], bytes: 0, events: 0 };
  await load.call('open', 'idle', url, FIRST);
  const before = await process.call('rss', true);
  const heapBefore = await process.call('heap');
  await load.call('open', 'idle', url, connections);
  const fresh = ((await process.call('rss', true)) - before) / connections;
  const heap = ((await process.call('heap')) - heapBefore) / connections;
  await load.call('send', { ...sends, count: FIRST + connections });
  const used = ((await process.call('rss', true)) - before) / connections;
  if (kind !== 'resume') return { fresh, used, heap, detached: undefined };
  await load.call('drop', 'idle');
  await process.call('rss', true);
  const detached = ((await process.call('heap')) - heapBefore) / (FIRST + connections);
  return { fresh, used, heap, detached };
}
