import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import type { Logger } from '../../../src/index.js';
import { faults } from '../../../src/testing/index.js';
import { to, world } from '../helpers.js';

/** How a logger of the application can fail, at every level. */
const FAILURES: Record<string, () => never> = {
  throws: () => {
    throw new Error('the log is full');
  },
  rejects: () => Promise.reject(new Error('the log is full')) as never,
};

for (const [how, fail] of Object.entries(FAILURES)) {
  t.test(`a logger that ${how} at every level changes no send, no chat and no connection [T-55]`, async (t) => {
    const uncaught: unknown[] = [];
    const record = (error: unknown): void => void uncaught.push(error);
    process.on('unhandledRejection', record);
    process.on('uncaughtException', record);
    const logger: Logger = { debug: fail, info: fail, warn: fail, error: fail };
    const { agent, relay, connect, sessions } = await world(t, { logger, cleanupTimeout: 200, leaks: true });
    const [client, lost] = [await connect(), await connect()];
    t.match(await client.ask(to('a')), { type: 'response' });
    t.match(await client.ask('no frame'), { type: 'error', data: { code: -32_700 } });
    agent.script('chat.message', { error: { code: -32_603 } });
    t.match(await client.ask(to('a')), { type: 'error', data: { code: -32_603 } });
    agent.script('chat.message', faults.html(502));
    t.match(await client.ask(to('a')), { type: 'error', data: { code: -41_003 } });
    t.match(await lost.ask(to('a')), { type: 'response' });
    agent.script('chat.end', { ...faults.html(502), times: 99 });
    const gone = sessions[1]?.closed;
    lost.socket.terminate();
    t.match(await gone, [{ ok: false }], 'a lost connection, and an orphan');
    t.match(await client.ask(to('b')), { type: 'response' }, 'the other connection is as it was');
    client.socket.close(1000);
    await Promise.all([...relay.sessions].map(({ closed }) => closed));
    await setImmediate();
    process.off('unhandledRejection', record);
    process.off('uncaughtException', record);
    t.strictSame(uncaught, []);
  });
}
