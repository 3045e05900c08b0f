// The checker of the nemesis must complain of builds that lack what the cluster rests on, and not of the one that there is.
import t, { type Test } from 'tap';
import { type Breakage, brokenBuild } from '../../history/breakage.js';
import { Battlefield, type BattleOptions } from '../battle.js';
import type { Attack } from '../nemesis.js';

interface BrokenBuild {
  without: string;
  breakage: Breakage;
  steps: Attack[][];
  complaint: RegExp;
  options?: BattleOptions;
}

const builds: BrokenBuild[] = [
  {
    without: 'the write-ahead of threads',
    breakage: {
      file: '/thread-core/dist/relay/cluster/cluster-session.js',
      find: 'await this.#writeOrRegister(entry.chatId);',
      replace: 'setTimeout(() => this.#writeOrRegister(entry.chatId).catch(() => undefined), 3000);',
    },
    steps: [['kill'], ['kill']],
    complaint: /chats left/,
  },
  {
    without: 'the check of the lease',
    breakage: {
      file: '/thread-core/dist/relay/cluster/cluster-node.js',
      find: 'return isFresh && !this.#isFenced ? undefined : this.#checkAgain(isConnected);',
      replace: 'return undefined;',
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
      find: 'await endChats(session);',
      replace: 'await node.store.close(owned); await endChats(session);',
    },
    steps: [['kill reaper']],
    complaint: /chats left/,
    options: { grace: 1500 },
  },
];

const { NEMESIS_SEED = 1 } = process.env;

t.setTimeout(600_000);

for (const { without, breakage, steps, complaint, options } of builds) {
  const fight = async (t: Test, more: BattleOptions): Promise<string> => {
    const field = await Battlefield.create(t, { ...options, ...more });
    return (await field.fight(Number(NEMESIS_SEED), steps, 12)).join('\n');
  };

  t.test(`${steps.join(', ')}: the checker does not complain of the intact build`, async (t) => {
    t.equal(await fight(t, {}), '');
  });

  t.test(`${steps.join(', ')}: it complains of a build without ${without}`, async (t) => {
    t.match(await fight(t, { env: brokenBuild(breakage), patience: 8000 }), complaint);
  });
}
