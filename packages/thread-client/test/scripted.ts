import { CuttingProxy } from '@arc/test-client';
import type { Test } from 'tap';
import { createThreadClient, type ThreadClient, type ThreadClientOptions } from '../src/index.js';
import { ResumeServer } from './resume-server.js';
import { FAST } from './world.js';

/** A scripted relay, a proxy in front of it, and a client. `create` makes further ones. */
export async function scripted(t: Test, options: Partial<ThreadClientOptions> = {}) {
  const server = await ResumeServer.start();
  const proxy = await CuttingProxy.start(server.port);
  const clients: ThreadClient[] = [];
  t.teardown(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await proxy.close();
    await server.close();
  });
  const create = (more: Partial<ThreadClientOptions> = {}): ThreadClient => {
    const client = createThreadClient({ ...FAST, url: proxy.url, ...options, ...more });
    clients.push(client);
    return client;
  };
  return { server, proxy, client: create(), create };
}
