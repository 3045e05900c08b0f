import type { Breakage } from '../history/breakage.js';
import type { AttackedClusterOptions } from './attacked-cluster.js';
import type { Attack } from './nemesis.js';

/** A build that lacks what the cluster rests on, and how the checker of the nemesis notices. */
export interface BrokenBuild {
  without: string;
  breakage: Breakage;
  steps: Attack[][];
  complaint: RegExp;
  options?: AttackedClusterOptions;
}

export const builds: BrokenBuild[] = [
  {
    without: 'the write-ahead of threads',
    breakage: {
      file: '/thread-core/dist/relay/cluster/session-record.js',
      find: 'await this.#writes.addOwned(() => this.#writeThread(entry.chatId));',
      replace:
        'setTimeout(() => this.#writes.addOwned(() => this.#writeThread(entry.chatId)).catch(() => undefined), 3000);',
    },
    steps: [['kill'], ['kill']],
    complaint: /chats left/,
  },
  {
    without: 'the check of the lease',
    breakage: {
      file: '/thread-core/dist/relay/cluster/lease-clock.js',
      find: 'this.#renewed = asked;',
      replace: 'this.#renewed = { monotonic: Infinity, wall: Infinity };',
    },
    steps: [['freeze']],
    complaint: /reached the agent late/,
  },
  {
    without: 'the check of the epoch',
    breakage: {
      file: '/thread-redis/dist/scripts/sessions.js',
      find: "if held.epoch and held.epoch >= epoch and not isSame then return failed('FENCED', 'session ' .. sid) end",
      replace: '',
    },
    steps: [['freeze']],
    complaint: /SessionLostError|chats left|reached the agent late/,
  },
  {
    without: 'the second phase of reaping',
    breakage: {
      file: '/thread-core/dist/relay/cluster/cluster-reaper.js',
      find: 'await this.#endChats(session);',
      replace: 'await node.store.close(owned); await this.#endChats(session);',
    },
    steps: [['kill reaper']],
    complaint: /chats left/,
    options: { grace: 1500 },
  },
  {
    without: 'an end of leases while the store is away',
    breakage: {
      file: '/thread-core/dist/relay/cluster/lease-clock.js',
      find: 'this.#renewed = asked;',
      replace: 'this.#renewed = { monotonic: Infinity, wall: Infinity };',
    },
    steps: [['outage']],
    complaint: /from a node whose lease was over/,
  },
  {
    without: 'the refusal of threads that the store does not know',
    breakage: {
      file: '/thread-core/dist/relay/cluster/session-record.js',
      find: 'await this.#writes.addOwned(() => this.#writeThread(entry.chatId));',
      replace: 'this.#writes.addOwned(() => this.#writeThread(entry.chatId)).catch(() => undefined);',
    },
    steps: [['outage with loss']],
    complaint: /has started a chat while the store was away/,
  },
  {
    without: 'the check of the secret at the owner',
    breakage: {
      file: '/thread-core/dist/relay/resume/session-secret.js',
      find: 'return given.length === expected.length && timingSafeEqual(given, expected);',
      replace: 'return true;',
    },
    steps: [['wrong secrets']],
    complaint: /somebody was told {"type":"ready".*"resumed":true/,
  },
  {
    without: 'the check of the secret in the store',
    breakage: {
      file: '/thread-redis/dist/scripts/takeover.js',
      find: "if access[1] == '' or access[1] ~= ARGV[4] then return { 'unknown' } end",
      replace: '',
    },
    steps: [['wrong secrets']],
    complaint: /ClosedError 4409/,
  },
];
