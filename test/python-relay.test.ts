import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runCoreContract, ServerProcess } from '@arc/host-contract';
import t from 'tap';

const relay = fileURLToPath(new URL('../examples/python-relay/relay.py', import.meta.url));

/** A Python that has the package websockets: Debian's may not be the first on the PATH. */
const python = [process.env.PYTHON_PATH ?? 'python3', '/usr/bin/python3'].find(
  (program) => spawnSync(program, ['-c', 'import websockets']).status === 0,
);

if (python === undefined) throw new Error('No python3 with the package websockets: see test/setup-programs.mjs');

runCoreContract(t, {
  name: 'examples/python-relay',
  async start({ endpoint, token }) {
    const server = new ServerProcess([python, relay], { variables: { ARC_ENDPOINT: endpoint, ARC_TOKEN: token } });
    const { port } = new URL(await server.url);
    return { port: Number(port), path: '/ws', stop: async () => (await server.stop()).code };
  },
});
