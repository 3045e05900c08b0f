// On demand: `npm run test:hosts`. It installs 400 MB from the registry, outside of this repository.
import { type CoreHost, runCoreContract, ServerProcess } from '@arc/host-contract';
import t from 'tap';
import { Installer, type Versions } from './install.js';

t.setTimeout(900_000);

const installer = new Installer();
t.teardown(() => installer.remove());

const NEST_11: Versions = { '@nestjs/': '^11' };

/** The Node programs of an example, run in the folder in which it is installed. */
function running(
  name: string,
  {
    folder,
    file,
    variables = {},
    ...more
  }: { folder: string; file: string; variables?: Record<string, string> } & Partial<CoreHost>,
): CoreHost {
  return {
    name,
    page: '/',
    async start({ endpoint, token }) {
      const server = new ServerProcess([process.execPath, file], {
        cwd: folder,
        variables: { ARC_ENDPOINT: endpoint, ARC_TOKEN: token, NEXT_TELEMETRY_DISABLED: '1', ...variables },
      });
      const { port } = new URL(await server.url);
      return { port: Number(port), path: '/ws', stop: async () => (await server.stop()).code };
    },
    ...more,
  };
}

for (const [major, versions] of [
  [12, {}],
  [11, NEST_11],
] as const) {
  t.test(`NestJS ${major}`, async (t) => {
    const { folder, installed } = await installer.install('nestjs', versions);
    t.comment(installed);
    await installer.run(folder, 'npx', 'tsc');
    for (const platform of ['express', 'fastify']) {
      const variables = { PLATFORM: platform };
      runCoreContract(t, running(`on ${platform}`, { folder, file: 'dist/server.js', variables, echo: '/echo' }));
    }
  });
}

t.test('Next.js', async (t) => {
  const { folder, installed } = await installer.install('next');
  t.comment(installed);
  await installer.run(folder, 'npx', 'next', 'build');
  for (const mode of ['production', 'development']) {
    const variables = { NODE_ENV: mode };
    // Next.js neither answers nor closes an upgrade to a path that it does not know.
    runCoreContract(t, running(`in ${mode}`, { folder, file: 'server.mjs', variables, hasOtherPaths: false }));
  }
});
