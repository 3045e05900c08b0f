import { fileURLToPath } from 'node:url';
import { ServerProcess } from '@arc/host-contract';

/** An example server, run as its own process as `npm start` runs it. */
export class Example extends ServerProcess {
  /** `name` is the folder in examples/. It listens on a free port unless `variables` say otherwise. */
  constructor(name: string, variables: Readonly<Record<string, string>> = {}) {
    const server = fileURLToPath(new URL(`../../examples/${name}/dist/server.js`, import.meta.url));
    super([process.execPath, server], { variables });
  }
}
