// A cluster under attack. Seeds: NEMESIS_SEEDS of them (200 on demand), from NEMESIS_SEED on, with NEMESIS_CLIENTS clients. A
// seed that fails is played again with NEMESIS_SEED=… NEMESIS_SEEDS=1.

import { Random } from '@arc/test-client';
import t from 'tap';
import { AttackedCluster, LEASE } from './attacked-cluster.js';
import { type Attack, attacks, outages } from './nemesis.js';

const { NEMESIS_CLIENTS = 30, NEMESIS_ATTACKS = '' } = process.env;
const first = Number(process.env.NEMESIS_SEED ?? 1);
const count = Number(process.env.NEMESIS_SEEDS ?? 20);
const seeds = Array.from({ length: count }, (_, index) => first + index);

const chosen = NEMESIS_ATTACKS === '' ? attacks : attacks.filter((attack) => NEMESIS_ATTACKS.includes(attack));

/** Each seed begins with another attack, so that few seeds have them all. Of three seeds two attack twice at once. */
function stepsOf(seed: number): Attack[][] {
  const random = new Random(seed);
  const attack = firstOf(seed);
  const others = chosen.filter((other) => other !== attack);
  if (seed % 3 === 0 || others.length === 0) return [[attack], [random.pick(chosen)]];
  return [[attack, random.pick(others)]];
}

function firstOf(seed: number): Attack {
  return chosen[seed % chosen.length] as Attack;
}

/** Redis is away for longer than sessions are kept, if they are kept as briefly as can be. */
const isLong = (seed: number): boolean => outages.includes(firstOf(seed));
const isEven = (seed: number): boolean => seed % 2 === 0;

t.setTimeout(60_000 + count * 60_000);

const APPENDING = ['--appendonly', 'yes', '--appendfsync', 'everysec'];

for (const [name, redis, grace, isMine] of [
  ['that appends to a file', APPENDING, undefined, (seed: number) => !isLong(seed) && !isEven(seed)],
  ['without persistence', [], undefined, (seed: number) => !isLong(seed) && isEven(seed)],
  ['that is away for longer than sessions are kept', APPENDING, LEASE, isLong],
] as const) {
  const mine = seeds.filter(isMine);
  const skip = mine.length === 0 && 'none of these seeds';
  t.test(`with a Redis ${name} each promise is kept under every attack, and nothing is left`, { skip }, async (t) => {
    const attacked = await AttackedCluster.create(t, { redis: [...redis], printsLogs: true, ...(grace && { grace }) });
    for (const seed of mine) {
      const steps = stepsOf(seed);
      const problems = await attacked.run(seed, steps, Number(NEMESIS_CLIENTS));
      const what = `seed ${seed}: ${steps.map((atOnce) => atOnce.join(' + ')).join(', ')}`;
      t.same(problems, [], what);
      // tap prints nothing before all seeds of this Redis are played.
      if (count > 20) console.error(`${problems.length === 0 ? 'ok' : 'FAILED'}  ${what}`);
    }
  });
}
