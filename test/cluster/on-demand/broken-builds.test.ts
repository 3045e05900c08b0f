// The checker of the nemesis must complain of builds that lack what the cluster rests on, and not of the one that there is.
import t, { type Test } from 'tap';
import { brokenBuild } from '../../history/breakage.js';
import { AttackedCluster, type AttackedClusterOptions } from '../attacked-cluster.js';
import { builds } from '../broken-builds.js';

const { NEMESIS_SEED = 1 } = process.env;

t.setTimeout(600_000);

for (const { without, breakage, steps, complaint, options } of builds) {
  const run = async (t: Test, more: AttackedClusterOptions): Promise<string> => {
    const attacked = await AttackedCluster.create(t, { ...options, ...more });
    return (await attacked.run(Number(NEMESIS_SEED), steps, 12)).join('\n');
  };

  t.test(`${steps.join(', ')}: the checker does not complain of the intact build`, async (t) => {
    t.equal(await run(t, {}), '');
  });

  t.test(`${steps.join(', ')}: it complains of a build without ${without}`, async (t) => {
    t.match(await run(t, { env: brokenBuild(breakage), waitLimit: 8000 }), complaint);
  });
}
