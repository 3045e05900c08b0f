// An agent cannot fill this process's memory.
import { channel } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { until } from '@arc/test-client';
import t, { type Test } from 'tap';
import { ArcStream } from '../../src/client/stream.js';
import { MessageTooLargeError } from '../../src/protocol/errors.js';
import {
  chunk,
  cut,
  DONE,
  drain,
  envelope,
  event,
  failure,
  http,
  LAST_CHUNK,
  pair,
  piece,
  RESULT,
  refusal,
  START,
  STREAM,
  STREAM_HEAD,
  stream,
  writeApart,
} from './support.js';

/** An envelope of exactly so many bytes. */
function sized(bytes: number): string {
  const text = JSON.stringify(envelope({ result: { ...RESULT, pad: '' } }));
  return text.replace('"pad":""', `"pad":"${'x'.repeat(bytes - text.length)}"`);
}

const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';

t.test('an answer of maxResponseBytes is read, and one of a byte more is not', async (t) => {
  const maxResponseBytes = 1000;
  for (const bytes of [1000, 1001]) {
    const body = sized(bytes);
    t.equal(Buffer.byteLength(body), bytes);
    const forms = {
      'with a content-length': http(200, body, { 'content-type': 'application/json' }),
      chunked: Buffer.concat([Buffer.from(CHUNKED_HEAD), chunk(body), Buffer.from(LAST_CHUNK)]),
      'in many chunks': Buffer.concat([
        Buffer.from(CHUNKED_HEAD),
        ...[...cut(Buffer.from(body), 100)].map(chunk),
        Buffer.from(LAST_CHUNK),
      ]),
    };
    for (const [form, reply] of Object.entries(forms)) {
      const { peer, client } = await pair(t, reply, { maxResponseBytes });
      if (bytes === 1000) {
        t.equal((await client.chat.start(START)).result.chat.chatId, 'c1', form);
      } else {
        const error = await failure(client.chat.start(START));
        t.ok(error instanceof MessageTooLargeError, form);
        t.match(error, {
          code: -45004,
          reason: 'Agent "support" sent an answer of more than 1000 bytes',
          status: 200,
          agentId: 'support',
          fromAgent: false,
        });
        await peer.until(() => peer.open === 0);
      }
    }
  }
});

t.test('an answer whose content-length is too large is not read at all', async (t) => {
  // Not a byte of the body is sent: what counts is the header.
  const { client } = await pair(t, 'HTTP/1.1 200 OK\r\ncontent-length: 17000000\r\n\r\n');
  t.ok((await failure(client.chat.start(START))) instanceof MessageTooLargeError);
});

t.test('the limit holds for errors, too', async (t) => {
  const { client } = await pair(t, refusal({ code: -32603, message: 'x', details: 'x'.repeat(2000) }, 500), {
    maxResponseBytes: 1000,
  });
  t.match(await failure(client.chat.start(START)), { code: -45004, status: 500 });
});

/** Sends 100 MB in chunks as fast as they are taken, and tells how many left until the client closed. */
async function flood(t: Test, head: string, block: string, options: object, ask: object) {
  let sent = 0;
  const bytes = chunk(block);
  const { peer, client } = await pair(
    t,
    async (socket) => {
      let goOn = (): void => {};
      socket.on('drain', () => goOn()).on('close', () => goOn());
      socket.write(head);
      while (sent < 100_000_000 && !socket.destroyed) {
        sent += block.length;
        if (!socket.write(bytes)) await new Promise<void>((resolve) => (goOn = resolve));
      }
    },
    options,
  );
  const asked: unknown = await client.chat.start({ ...START, ...ask }).catch((error: unknown) => ({ error }));
  const { error } = asked instanceof ArcStream ? await drain(asked) : (asked as { error?: unknown });
  await peer.until(() => peer.open === 0);
  return { error, sent };
}

t.test('an answer of 100 MB stays bounded', async (t) => {
  const block = 'x'.repeat(65_536);
  const before = process.memoryUsage().arrayBuffers;
  const body = await flood(t, CHUNKED_HEAD, block, {}, {});
  t.match(body.error, { code: -45004, reason: /more than 16777216 bytes/ });
  const line = await flood(t, STREAM_HEAD, block, {}, { stream: true });
  t.match(line.error, { code: -45004, reason: 'Agent "support" sent an event of more than 16777216 bytes' });
  const lines = await flood(t, STREAM_HEAD, `data: ${block}\n`, {}, { stream: true });
  t.match(lines.error, { code: -45004, reason: /an event of more than/ });
  const collected = await flood(t, STREAM_HEAD, `data: ${block}\n\n`, {}, {});
  t.match(
    collected.error,
    { code: -45004, reason: /an answer of more than 16777216 bytes/ },
    'a stream that was not requested is an answer',
  );
  for (const { sent } of [body, line, lines, collected]) t.ok(sent < 40_000_000, `${sent} bytes left the agent`);
  t.ok(process.memoryUsage().arrayBuffers - before < 100_000_000);
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes of the heap that are in use after a garbage collection. */
function usedHeap(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

t.test('an answer in chunks of a byte takes no more memory than in large ones [F-457]', async (t) => {
  const body = sized(1_000_000);
  const chunks = Buffer.from(Array.from(body, (character) => `1\r\n${character}\r\n`).join(''));
  let finish = (): void => {};
  const { client } = await pair(t, (socket) => {
    socket.write(CHUNKED_HEAD);
    socket.write(chunks);
    finish = () => socket.write(LAST_CHUNK);
  });
  const sockets: Socket[] = [];
  const onConnected = (message: unknown): void => void sockets.push((message as { socket: Socket }).socket);
  const connected = channel('undici:client:connected');
  connected.subscribe(onConnected);
  t.teardown(() => connected.unsubscribe(onConnected));
  const before = usedHeap();
  const answered = client.chat.start(START);
  await until(() => sockets[0]?.bytesRead === CHUNKED_HEAD.length + chunks.length, 'the answer without its end');
  await turn();
  const used = usedHeap() - before;
  t.ok(used < 20_000_000, `${used} bytes for an answer of ${body.length}`);
  finish();
  t.equal((await answered).result.chat.chatId, 'c1');
});

/** One event whose data has exactly so many characters, in one line or in several. */
function eventOf(length: number, lines: number): string {
  const each = Math.floor((length - lines + 1) / lines);
  const parts = Array.from({ length: lines }, (_, i) => 'x'.repeat(i === 0 ? length - (lines - 1) * (each + 1) : each));
  return `event: progress\n${parts.map((part) => `data: ${part}\n`).join('')}\n`;
}

t.test('an event of maxEventBytes is read, and one of a character more is not, however it is cut', async (t) => {
  for (const maxEventBytes of [1, 20, 1000]) {
    for (const lines of maxEventBytes < 20 ? [1] : [1, 2, 7]) {
      for (const length of [maxEventBytes, maxEventBytes + 1]) {
        const body = Buffer.from(`${eventOf(length, lines)}event: done\ndata:\n\n`);
        for (const size of [body.length, 97, 1]) {
          const pieces = [STREAM_HEAD, ...[...cut(body, size)].map(chunk), LAST_CHUNK];
          const { client } = await pair(t, (socket) => writeApart(socket, pieces), { maxEventBytes });
          const asked = await client.chat.start(STREAM).then(drain, (error: unknown) => ({ events: [], error }));
          const how = `${length} of ${maxEventBytes}, ${lines} lines, cut in ${size}`;
          if (length === maxEventBytes) {
            t.equal(asked.events.length, 2, how);
            t.equal(String(asked.events[0]?.data).length, length, how);
          } else {
            t.match(
              asked.error,
              {
                code: -45004,
                reason: `Agent "support" sent an event of more than ${maxEventBytes} bytes`,
                status: 200,
              },
              how,
            );
            t.equal(asked.events.length, 0);
          }
        }
      }
    }
  }
});

t.test('an event that is too large ends a stream from which events were read', async (t) => {
  const { peer, client } = await pair(
    t,
    STREAM_HEAD + chunk(event('stream', piece('a')) + event('stream', 'x'.repeat(300)) + DONE),
    { maxEventBytes: 200 },
  );
  const { events, error } = await drain(await client.chat.start(STREAM));
  t.equal(events.length, 1);
  t.ok(error instanceof MessageTooLargeError);
  await peer.until(() => peer.open === 0);
});

t.test('many events that are small are no matter', async (t) => {
  const body = event('stream', piece('a')).repeat(5000) + DONE;
  const { client } = await pair(t, stream(body), { maxEventBytes: 200, maxResponseBytes: 1000 });
  const { events, error } = await drain(await client.chat.start(STREAM));
  t.equal(error, undefined);
  t.equal(events.length, 5001);
});
