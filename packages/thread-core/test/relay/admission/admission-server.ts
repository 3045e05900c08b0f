import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { createRelay, type RelayOptions } from '../../../src/index.js';
import { Log } from '../helpers.js';

/**
 * A relay with a server that asks it about each request, and a function that sends a request and gives the decision.
 * `given`: the host as a framework knows it.
 */
export async function admissionServer(t: Test, options: RelayOptions, given?: string) {
  const log = new Log();
  const relay = createRelay({ endpoint: 'http://127.0.0.1:1/arc', logger: log, ...options });
  const admissions: unknown[] = [];
  const server = createServer(async (req, res) => {
    admissions.push(await relay.admit(req, 'context', given));
    res.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    await relay.close();
  });
  const ask = async (headers: Record<string, string> = {}): Promise<unknown> => {
    const [response] = (await once(request({ port, host: '127.0.0.1', headers }).end(), 'response')) as [
      IncomingMessage,
    ];
    response.resume();
    return admissions.shift();
  };
  return { relay, ask, log, host: `127.0.0.1:${port}` };
}
