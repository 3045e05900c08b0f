import { once } from 'node:events';
import { startTestAgent } from '@arc/thread-core/testing';
import { WebSocket } from 'ws';
import { createApp } from './app.js';

test('the app answers with the text of the agent', async () => {
  const agent = await startTestAgent();
  agent.script('chat.start', 'Good morning');
  const { port, close } = await createApp(agent.endpoint);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
  await once(socket, 'open');

  const message = { role: 'user', parts: [{ type: 'text', content: 'Hello' }] };
  socket.send(JSON.stringify({ agent_id: 'support', message }));
  const [data] = await once(socket, 'message');
  expect(JSON.parse(data).response.result.chat.message.parts[0].content).toBe('Good morning');

  await close();
  expect(agent.counters.open).toBe(0);
  await agent.close();
});
