// A server as its own process, with the host and the agent's address that are its arguments. It never calls
// process.exit: what it leaves open keeps it alive.
import { portOf } from '@arc/host-contract';
import { hosts } from './hosts.js';

const [name = '', endpoint = ''] = process.argv.slice(2);
const host = await hosts[name]?.();
if (host === undefined) throw new Error(`There is no host ${name}`);
const options = { endpoint, drainTimeout: 2000, cleanupTimeout: 2000 };
const app = await host.listen({ relays: [{ options }], onError: console.error });
process.once('SIGTERM', () => void app.close());
process.send?.(portOf(app.server));
// The channel to the test is not to keep it alive.
process.channel?.unref();
