import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { listen } from './hosts/listen.js';
import { serve } from './process/serve.js';

/**
 * The agents of all hosts. They do as little as possible, so that the hosts are measured. The agent id selects the behaviour:
 * `burst-100` streams 100 events at once, `tick-100` one event in each turn of the event loop, `echo` answers with the text
 * that it received, and all others answer with one word.
 */

interface ArcRequest {
  id: string;
  method: string;
  requestAgent: string;
  targetAgent: string;
  params: { chatId: string; stream?: boolean; initialMessage?: Message; message?: Message };
}

interface Message {
  parts: { content: string }[];
}

/** Number of ended chats by port, and the callers that wait for a number. */
const ends = new Map<number, number>();
const waiting: { port: number; count: number; resolve: () => void }[] = [];
const servers = new Map<number, Server>();

function onRequest(req: IncomingMessage, res: ServerResponse): void {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const text = chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString();
    answer(JSON.parse(text) as ArcRequest, res);
  });
}

function answer(request: ArcRequest, res: ServerResponse): void {
  const { method, params, targetAgent } = request;
  if (method === 'chat.end') {
    writeEnvelope(request, '{"success":true}', res);
    return countEnd(res.socket?.localPort ?? 0);
  }
  const [behaviour, count] = targetAgent.split('-');
  if (params.stream === true) {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    if (behaviour === 'tick') return writeTick(params.chatId, Number(count), res);
    return writeBurst(params.chatId, Number(count), res);
  }
  const content = behaviour === 'echo' ? ((params.message ?? params.initialMessage)?.parts[0]?.content ?? '') : 'hi';
  const message = `{"role":"agent","parts":[{"type":"TextPart","content":"${content}"}]}`;
  writeEnvelope(
    request,
    `{"type":"chat","chat":{"chatId":"${params.chatId}","status":"ACTIVE","message":${message}}}`,
    res,
  );
}

function writeEnvelope({ id, targetAgent, requestAgent }: ArcRequest, result: string, res: ServerResponse): void {
  const envelope = `{"arc":"1.0","id":"${id}","responseAgent":"${targetAgent}","targetAgent":"${requestAgent}","result":${result},"error":null}`;
  res.writeHead(200, { 'content-type': 'application/arc+json', 'content-length': Buffer.byteLength(envelope) });
  res.end(envelope);
}

/** Words as a language model produces them: of different lengths, and some that need an escape. */
const WORDS = [
  'The ',
  'relay ',
  'passes ',
  'on ',
  'what ',
  'it ',
  'is ',
  'given, ',
  'unchanged.',
  '\\n',
  'Größe ',
  'a ',
];

const piece = (chatId: string, n: number): string =>
  `event: stream\ndata: {"chatId":"${chatId}","message":{"role":"agent","parts":[{"type":"TextPart","content":"${WORDS[n % WORDS.length]}"}]}}\n\n`;
const pieces = (chatId: string, count: number): string =>
  Array.from({ length: count }, (_, n) => piece(chatId, n)).join('');
const done = (chatId: string): string => `event: done\ndata: {"chatId":"${chatId}","status":"ACTIVE","done":true}\n\n`;

/** Number of events in one write. A longer stream waits for its reader between writes. */
const BURST = 100;

function writeBurst(chatId: string, count: number, res: ServerResponse): void {
  const block = pieces(chatId, Math.min(BURST, count));
  let left = count;
  const write = (): void => {
    while (left > BURST) {
      left -= BURST;
      if (!res.write(block)) {
        res.once('drain', write);
        return;
      }
    }
    res.end((left === BURST ? block : pieces(chatId, left)) + done(chatId));
  };
  write();
}

function writeTick(chatId: string, count: number, res: ServerResponse): void {
  let left = count;
  const write = (): void => {
    if (left === 0) return void res.end(done(chatId));
    left -= 1;
    res.write(piece(chatId, left));
    setImmediate(write);
  };
  write();
}

function countEnd(port: number): void {
  const count = (ends.get(port) ?? 0) + 1;
  ends.set(port, count);
  for (const [index, waiter] of waiting.entries()) {
    if (waiter.port !== port || count < waiter.count) continue;
    waiting.splice(index, 1);
    return waiter.resolve();
  }
}

const api = {
  /** Starts a server of agents, and returns its port. */
  listen: async (): Promise<number> => {
    const server = createServer(onRequest);
    // Sent to the hosts, which would close idle connections after a few seconds: they are idle while other hosts run.
    server.keepAliveTimeout = 120_000;
    const port = await listen(server);
    servers.set(port, server);
    return port;
  },
  /** Number of chats that were ended at a port. */
  ends: (port: number): number => ends.get(port) ?? 0,
  /** Resolves when that many chats were ended at a port. */
  untilEnds: (port: number, count: number): Promise<void> | undefined => {
    if ((ends.get(port) ?? 0) >= count) return undefined;
    return new Promise((resolve) => {
      waiting.push({ port, count, resolve });
    });
  },
  /** Number of open connections to a port. */
  connections: (port: number): Promise<number> =>
    new Promise((resolve) => {
      servers.get(port)?.getConnections((_, count) => resolve(count));
    }),
};

export type AgentApi = typeof api;

serve(api);
