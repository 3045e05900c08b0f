import { type CoreHost, runCoreContract } from '@arc/host-contract';
import t from 'tap';
import { Example } from './browser/example.js';

t.setTimeout(120_000);

/** An example of this repository, started as `npm start` starts it. */
function example(name: string, more: Partial<CoreHost> = {}): CoreHost {
  return {
    name: `examples/${name}`,
    async start({ endpoint, token }) {
      const running = new Example(name, { ARC_ENDPOINT: endpoint, ARC_TOKEN: token, ARC_STREAM: 'false' });
      const { port } = new URL(await running.url);
      return { port: Number(port), path: '/ws', stop: async () => (await running.stop()).code };
    },
    page: '/',
    ...more,
  };
}

runCoreContract(t, example('http'));
runCoreContract(t, example('hono', { echo: '/echo' }));
