// A cluster under attack. Seeds: NEMESIS_SEEDS of them (200 on demand), from NEMESIS_SEED on, with NEMESIS_CLIENTS clients. A
// seed that fails is played again with NEMESIS_SEED=… NEMESIS_SEEDS=1.

import { Random } from '@arc/test-client';
import t from 'tap';
import { AttackedCluster } from './attacked-cluster.js';
import { type Attack, attacks } from './nemesis.js';

const { NEMESIS_CLIENTS = 30, NEMESIS_ATTACKS = '' } = process.env;
const first = Number(process.env.NEMESIS_SEED ?? 1);
const count = Number(process.env.NEMESIS_SEEDS ?? 20);
const seeds = Array.from({ length: count }, (_, index) => first + index);

const chosen = NEMESIS_ATTACKS === '' ? attacks : attacks.filter((attack) => NEMESIS_ATTACKS.includes(attack));

/** Each seed begins with another attack, so that few seeds have them all. Of three seeds two attack twice at once. */
function stepsOf(seed: number): Attack[][] {
  const random = new Random(seed);
  const attack = chosen[seed % chosen.length] as Attack;
  const others = chosen.filter((other) => other !== attack);
  if (seed % 3 === 0 || others.length === 0) return [[attack], [random.pick(chosen)]];
  return [[attack, random.pick(others)]];
}

t.setTimeout(60_000 + count * 60_000);

for (const [name, redis, isMine] of [
  ['that appends to a file', ['--appendonly', 'yes', '--appendfsync', 'everysec'], (seed: number) => seed % 2 === 1],
  ['without persistence', [], (seed: number) => seed % 2 === 0],
] as const) {
  t.test(`with a Redis ${name} each promise is kept under every attack, and nothing is left`, async (t) => {
    const attacked = await AttackedCluster.create(t, { redis: [...redis], printsLogs: true });
    for (const seed of seeds.filter(isMine)) {
      const steps = stepsOf(seed);
      const problems = await attacked.run(seed, steps, Number(NEMESIS_CLIENTS));
      const what = `seed ${seed}: ${steps.map((atOnce) => atOnce.join(' + ')).join(', ')}`;
      t.same(problems, [], what);
      // tap prints nothing before all seeds of this Redis are played.
      if (count > 20) console.error(`${problems.length === 0 ? 'ok' : 'FAILED'}  ${what}`);
    }
  });
}
