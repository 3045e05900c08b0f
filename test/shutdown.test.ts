import { once } from 'node:events';
import { Client, RawClient, upgradeText } from '@arc/host-contract';
import { startTestAgent } from '@arc/thread-core/testing';
import t from 'tap';
import { forkTypescript } from './child-process.js';
import { hosts } from './shutdown/hosts.js';

for (const name of Object.keys(hosts)) {
  t.test(`${name}: SIGTERM ends 100 chats, gives 1001, and the process exits by itself`, async (t) => {
    const agent = await startTestAgent();
    const server = forkTypescript(new URL('shutdown/server.ts', import.meta.url), [name, agent.endpoint]);
    const exited = once(server, 'exit');
    t.teardown(async () => {
      server.kill('SIGKILL');
      await agent.close();
    });
    // A process takes long to start on a busy machine. The time-out of the test file is its limit.
    const failed = exited.then(([code]) =>
      Promise.reject(new Error(`The server exited with ${code} before it listened`)),
    );
    const [port] = await Promise.race([once(server, 'message'), failed]);
    const clients = await Promise.all(Array.from({ length: 50 }, () => Client.open(`ws://127.0.0.1:${port}/ws`)));
    await Promise.all(clients.map((client) => client.say('a')));
    await Promise.all(clients.map((client) => client.say('b')));
    const silent = new RawClient(port, upgradeText('/ws'));
    await silent.receives('\r\n\r\n');
    t.match(agent.counters, { started: 100, open: 100 });

    server.kill('SIGTERM');
    // It had 2 s to drain, 2 s to clean up, and a second: longer than that, and it has to be killed.
    const watchdog = setTimeout(() => server.kill('SIGKILL'), 5000);
    const [code, signal] = await exited;
    clearTimeout(watchdog);
    t.strictSame({ code, signal }, { code: 0, signal: null }, 'it did not have to be killed');
    t.match(agent.counters, { started: 100, ended: 100, open: 0 });
    const codes = await Promise.all(clients.map(async ({ closed }) => (await closed).code));
    t.strictSame(new Set(codes), new Set([1001]));
    silent.socket.destroy();
  });
}
