import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);

/** Answers a message in both modes, and refuses a frame, in a process that may not make code from strings. */
const PROGRAM = `
  import { on, once } from 'node:events';
  import { createRelay } from '@arc/thread-core';
  import { startTestAgent } from '@arc/thread-core/testing';
  import { WebSocket, WebSocketServer } from 'ws';

  let isForbidden = false;
  try { new Function('return 1'); } catch { isForbidden = true; }
  const agent = await startTestAgent();
  const relay = createRelay({ endpoint: agent.endpoint });
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...relay.wsOptions });
  await once(server, 'listening');
  server.on('connection', (socket, request) => relay.attach(socket, request, { identity: 'me' }));
  const client = new WebSocket('ws://127.0.0.1:' + server.address().port);
  const types = [];
  await once(client, 'open');
  const message = { role: 'user', parts: [{ type: 'text', content: 'hello' }] };
  for (const frame of [{ agent_id: 'a', message }, { agent_id: 'a', message, stream: true }, { agent_id: 1 }]) {
    client.send(JSON.stringify(frame));
  }
  for await (const [data] of on(client, 'message')) {
    const { type } = JSON.parse(data.toString());
    if (type !== 'content') types.push(type);
    if (types.length === 3) break;
  }
  client.close();
  await relay.close();
  server.close();
  await agent.close();
  console.log(JSON.stringify({ isForbidden, types }));
`;

t.test(
  'the relay runs where code must not be made from strings (--disallow-code-generation-from-strings)',
  async (t) => {
    const { NODE_OPTIONS: _, ...env } = process.env;
    const args = ['--disallow-code-generation-from-strings', '--input-type=module', '--eval', PROGRAM];
    const { stdout } = await run(process.execPath, args, { cwd: new URL('../../..', import.meta.url), env });
    t.strictSame(JSON.parse(stdout), { isForbidden: true, types: ['error', 'response', 'done'] });
  },
);
