// A process of its own: nothing in it may keep it from exiting once its chats are ended and its client is closed.
import { ArcClient } from '../../src/client/arc-client.js';
import { startTestAgent } from '../../src/testing/index.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { say, settled } from './helpers.js';

const agent = await startTestAgent();
const client = new ArcClient({ endpoint: agent.endpoint });
const threads = new ThreadManager(client, { cleanupTimeout: 600_000 });
const message = say('hello');

await threads.sendToAgent({ agentId: 'json', message, timeout: 600_000 });
for await (const _event of await threads.sendToAgent({ agentId: 'stream', message, stream: true })) break;
const gate = agent.hold('chat.start');
const sent = settled(threads.sendToAgent({ agentId: 'in flight', message }));
await gate.arrived;
const ending = threads.endAllChats({ timeout: 600_000 });
gate.release();
await ending;
await sent;
await client.close();
const { open, ended } = agent.counters;
await agent.close();
console.log(`the agent has no chats left: ${open} open, ${ended} ended`);
