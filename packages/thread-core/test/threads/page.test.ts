// The examples of ThreadManager's documentation, on real WebSockets: one manager for each connection.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { ArcMessage } from '@arc/thread-protocol';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { ArcClient } from '../../src/client/arc-client.js';
import { faults, startTestAgent, textOf } from '../../src/testing/index.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { methods, requestsOf, say } from './helpers.js';

interface Data {
  agent_id: string;
  message: ArcMessage;
  trace_id?: string;
}

type Handler = (threads: ThreadManager, data: Data, send: (frame: object) => void) => Promise<void>;

/** A WebSocket server whose connections each have their ThreadManager, and an agent behind it. */
async function serve(t: Test, handler: Handler) {
  const agent = await startTestAgent();
  const client = new ArcClient({ endpoint: agent.endpoint });
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  const disconnected: Promise<unknown>[] = [];
  server.on('connection', (socket) => {
    const threads = new ThreadManager(client);
    let turn = Promise.resolve();
    socket.on('message', (text) => {
      const data = JSON.parse(String(text)) as Data;
      turn = turn.then(() => handler(threads, data, (frame) => socket.send(JSON.stringify(frame)))).catch(() => {});
    });
    disconnected.push(once(socket, 'close').then(() => threads.endAllChats()));
  });
  await once(server, 'listening');
  t.teardown(async () => {
    for (const socket of server.clients) socket.terminate();
    server.close();
    await client.close();
    await agent.close();
  });
  const { port } = server.address() as AddressInfo;
  const open = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    t.teardown(() => socket.terminate());
    const frames: Record<string, unknown>[] = [];
    let look = (): void => {};
    socket.on('message', (text) => {
      frames.push(JSON.parse(String(text)) as Record<string, unknown>);
      look();
    });
    await once(socket, 'open');
    /** The next so many frames. */
    const read = async (count = 1): Promise<Record<string, unknown>[]> => {
      while (frames.length < count) {
        await new Promise<void>((resolve) => {
          look = resolve;
        });
      }
      return frames.splice(0, count);
    };
    return { socket, read, send: (data: Data) => socket.send(JSON.stringify(data)) };
  };
  return { agent, open, disconnected };
}

const respond: Handler = async (threads, data, send) => {
  const response = await threads.sendToAgent({
    agentId: data.agent_id,
    message: data.message,
    traceId: data.trace_id,
  });
  send(response);
};

t.test('the loop: each message goes to its agent, the chat is kept, and a disconnect ends it', async (t) => {
  const { agent, open, disconnected } = await serve(t, respond);
  const user = await open();
  user.send({ agent_id: 'support', message: say('Help needed'), trace_id: 'trace-1' });
  const [first] = await user.read();
  t.match(first, { arc: '1.0', responseAgent: 'support', traceId: 'trace-1', result: { type: 'chat' }, error: null });
  user.send({ agent_id: 'support', message: say('More info') });
  const [second] = await user.read();
  t.match(second, { result: { chat: { message: { parts: [{ content: 'support #2: More info' }] } } } });
  t.strictSame(methods(agent), ['chat.start', 'chat.message']);
  user.socket.close();
  await agent.waitFor('idle');
  t.match(await Promise.all(disconnected), [[{ agentId: 'support', ok: true }]]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
});

t.test('the loop: connections do not share threads, and a dropped one ends its own only', async (t) => {
  const { agent, open } = await serve(t, respond);
  const [one, two] = [await open(), await open()];
  one.send({ agent_id: 'support', message: say('I am one') });
  two.send({ agent_id: 'support', message: say('I am two') });
  const [[first], [second]] = await Promise.all([one.read(), two.read()]);
  t.match([first, second], Array(2).fill({ result: { chat: { message: { parts: [{ content: /^support #1/ }] } } } }));
  t.equal(agent.counters.started, 2);
  one.socket.terminate();
  await agent.waitFor(({ counters }) => counters.open === 1);
  two.send({ agent_id: 'support', message: say('still here') });
  t.match(await two.read(), [{ result: { chat: { message: { parts: [{ content: 'support #2: still here' }] } } } }]);
});

t.test('the loop: a connection that drops while the agent works leaves no chat', async (t) => {
  const { agent, open } = await serve(t, respond);
  const gate = agent.hold('chat.start');
  const user = await open();
  user.send({ agent_id: 'support', message: say('hi') });
  await gate.arrived;
  user.socket.terminate();
  gate.release();
  await agent.waitFor(({ counters }) => counters.ended === 1);
  t.equal(agent.counters.open, 0);
});

/** The streaming loop: content as it comes, and `done` or `error` at its end. */
const stream: Handler = async (threads, data, send) => {
  const events = await threads.sendToAgent({ agentId: data.agent_id, message: data.message, stream: true });
  for await (const event of events) {
    if (event.event === 'content') {
      send({ type: 'content', data: event.data });
    } else if (event.event === 'done') {
      send({ type: 'done', data: event.data });
      break;
    } else if (event.event === 'error') {
      send({ type: 'error', data: event.data });
      break;
    }
  }
};

t.test('the streaming loop: content, then done; the next message continues in the chat', async (t) => {
  const { agent, open } = await serve(t, stream);
  const user = await open();
  for (const [turn, method] of ['chat.start', 'chat.message'].entries()) {
    user.send({ agent_id: 'support', message: say('Help needed') });
    const frames = await user.read(5);
    t.strictSame(
      frames.map(({ type }) => type),
      ['content', 'content', 'content', 'content', 'done'],
    );
    const text = frames.slice(0, 4).map(({ data }) => textOf((data as { message: ArcMessage }).message));
    t.equal(text.join(''), `support #${turn + 1}: Help needed`);
    t.match(frames[4]?.data, { done: true, status: 'ACTIVE' });
    t.equal(methods(agent)[turn], method);
  }
  t.equal(agent.counters.aborted, 0, 'breaking off at `done` is no cancellation');
  user.socket.close();
  await agent.waitFor(({ counters }) => counters.ended === 1);
});

t.test('the streaming loop: an agent’s error is the last event, and the thread stays usable', async (t) => {
  const { agent, open } = await serve(t, stream);
  const user = await open();
  user.send({ agent_id: 'support', message: say('hi') });
  await user.read(4);
  const failed = { event: 'error', data: { chatId: 'c', error: { code: -50_007, message: 'no idea' } } };
  const after = { event: 'done', data: { done: true, status: 'ERROR' } };
  agent.script('chat.message', { events: [{ data: 'so far' }, failed, after] });
  user.send({ agent_id: 'support', message: say('hi') });
  t.match(await user.read(2), [
    { type: 'content', data: 'so far' },
    { type: 'error', data: { error: { code: -50_007, message: 'no idea' } } },
  ]);
  user.send({ agent_id: 'support', message: say('again') });
  t.equal((await user.read(4)).at(-1)?.type, 'done');
});

t.test('the streaming loop: a disconnect during a stream stops the agent, and ends the chat', async (t) => {
  const { agent, open } = await serve(t, stream);
  agent.script('chat.start', faults.stall({ data: { chatId: 'any', message: say('so far') } }));
  const user = await open();
  user.send({ agent_id: 'support', message: say('hi') });
  await user.read();
  user.socket.terminate();
  await agent.waitFor(({ counters }) => counters.aborted === 1 && requestsOf(agent, 'chat.end').length > 0);
});

t.test('the multi-agent loop: each agent has its chat, and all are ended with the connection', async (t) => {
  const { agent, open, disconnected } = await serve(t, async (threads, data, send) => {
    const agentId = data.agent_id;
    const response = await threads.sendToAgent({ agentId, message: data.message });
    send({ agent_id: agentId, response, agents: threads.getAllAgents() });
  });
  const user = await open();
  for (const agent_id of ['support', 'finance', 'hr', 'support']) {
    user.send({ agent_id, message: say('hi') });
    t.match(await user.read(), [{ agent_id, response: { responseAgent: agent_id } }]);
  }
  t.strictSame(methods(agent), ['chat.start', 'chat.start', 'chat.start', 'chat.message']);
  user.socket.close();
  await agent.waitFor(({ counters }) => counters.ended === 3);
  t.match(await Promise.all(disconnected), [
    [
      { agentId: 'support', ok: true },
      { agentId: 'finance', ok: true },
      { agentId: 'hr', ok: true },
    ],
  ]);
});
