// A cluster under attack. Seeds: NEMESIS_SEEDS of them (200 on demand), from NEMESIS_SEED on, with NEMESIS_CLIENTS clients. A
// seed that fails is played again with NEMESIS_SEED=… NEMESIS_SEEDS=1.
import t from 'tap';
import { Random } from '../fuzz/random.js';
import { Battlefield } from './battle.js';
import { type Attack, attacks } from './nemesis.js';

const { NEMESIS_SEEDS = 6, NEMESIS_CLIENTS = 30, NEMESIS_SEED = 1, NEMESIS_ATTACKS = '' } = process.env;

/** Each seed begins with another attack, so that few seeds have them all. */
function attacksOf(seed: number): Attack[] {
  const random = new Random(seed);
  const chosen = NEMESIS_ATTACKS === '' ? attacks : attacks.filter((attack) => NEMESIS_ATTACKS.includes(attack));
  return [chosen[seed % chosen.length] as Attack, random.pick(chosen)];
}

t.setTimeout(60_000 + Number(NEMESIS_SEEDS) * 60_000);

t.test('under every attack each promise is kept: pieces, ends, messages, chats, and nothing is left', async (t) => {
  const field = await Battlefield.create(t, ['--appendonly', 'yes', '--appendfsync', 'everysec']);
  for (let seed = Number(NEMESIS_SEED); seed < Number(NEMESIS_SEED) + Number(NEMESIS_SEEDS); seed += 1) {
    const chosen = attacksOf(seed);
    const problems = await field.fight(seed, chosen, Number(NEMESIS_CLIENTS));
    t.same(problems, [], `seed ${seed}: ${chosen.join(', ')}`);
  }
});
