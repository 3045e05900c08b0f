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
];
