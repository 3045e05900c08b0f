import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { Random } from '@arc/test-client';
import { answer } from './answers.js';

interface Asked {
  id: string;
  method: string;
  traceId?: string;
  params: { chatId?: string; stream?: boolean };
}

/** An agent that ends chats as it should, and answers everything else with what its seed and the trace id make of it. */
export async function startFuzzAgent(seed: number): Promise<{ endpoint: string; close(): Promise<void> }> {
  const server = createServer((req, res) => {
    // The relay may have closed the connection meanwhile.
    reply(seed, req, res).catch(() => req.socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  return { endpoint: `http://127.0.0.1:${port}/arc`, close };
}

async function reply(seed: number, req: IncomingMessage, res: ServerResponse): Promise<void> {
  let body = '';
  for await (const chunk of req) body += chunk;
  const { id, method, traceId = '', params } = JSON.parse(body) as Asked;
  if (method === 'chat.end') {
    res.setHeader('content-type', 'application/arc+json');
    res.end(JSON.stringify({ arc: '1.0', id, responseAgent: 'a', targetAgent: 'b', result: { success: true } }));
    return;
  }
  const random = new Random(seed + Number(traceId.slice(1)));
  for (const piece of answer(random, params.chatId ?? '', params.stream === true)) {
    if (req.socket.destroyed) return;
    req.socket.write(piece);
    await setImmediate();
  }
  req.socket.destroySoon();
}
