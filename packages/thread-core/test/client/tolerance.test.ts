// Agents and networks that deviate from the specifications, and what is made of them.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type net from 'node:net';
import t from 'tap';
import { Agent } from 'undici';
import { silentLogger } from '../../src/logger.js';
import {
  answer,
  connect,
  cut,
  DONE,
  drain,
  envelope,
  event,
  failure,
  http,
  pair,
  piece,
  RESULT,
  refusal,
  START,
  STREAM,
  stream,
  writeApart,
} from './support.js';

const JSON_TYPE = { 'content-type': 'application/json' };
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/** What a client warns of. */
function warnings(): { logged: string[]; logger: typeof silentLogger } {
  const logged: string[] = [];
  return { logged, logger: { ...silentLogger, warn: (_about, message) => void logged.push(message) } };
}

t.test('[F-208] NaN and Infinity in an event become null, which is logged once', async (t) => {
  const { logged, logger } = warnings();
  const odd = '{"chatId":"c1","n":[NaN,Infinity,-Infinity,1],"s":"NaN \\"Infinity\\""}';
  const { client } = await pair(t, stream(event('content', odd).repeat(3) + DONE), { logger });
  for (let i = 0; i < 2; i++) {
    const { events } = await drain(await client.chat.start(STREAM));
    const json = '{"chatId":"c1","n":[null,null,null,1],"s":"NaN \\"Infinity\\""}';
    for (const each of events.slice(0, 3)) t.match(each, { json, chatId: 'c1', data: JSON.parse(json) });
  }
  t.same(logged, ['an agent sends NaN or Infinity, which are not JSON: they are passed on as null']);
});

t.test('[F-208] nor do they make an envelope unreadable', async (t) => {
  const { logged, logger } = warnings();
  const text = JSON.stringify(envelope({ id: 'r1', result: { ...RESULT, score: 'SCORE' } })).replace('"SCORE"', 'NaN');
  const { client } = await pair(t, http(200, text, JSON_TYPE), { logger });
  for (let i = 0; i < 2; i++) t.match((await client.chat.start(START)).result, { score: null });
  t.equal(logged.filter((message) => message.includes('NaN')).length, 1);
});

t.test('text that is not JSON for other reasons stays text', async (t) => {
  for (const text of ['NaN but no JSON', '{"a":NaN', '{NaN:1}', '"NaN', 'Infinity War', 'tNaN']) {
    const { client } = await pair(t, stream(event('content', text) + DONE));
    const { events } = await drain(await client.chat.start(STREAM));
    t.equal(events[0]?.data, text);
  }
});

t.test('a long text with NaN is read in time that grows with its length only', async (t) => {
  const text = `{"chatId":"c1","n":NaN,"s":"${'\\"'.repeat(2_000_000)}"}`;
  const { client } = await pair(t, stream(event('content', text) + DONE));
  const { events } = await drain(await client.chat.start(STREAM));
  t.match(events, [{ event: 'content' }, { event: 'done' }]);
  t.match(events[0]?.data, { n: null });
});

t.test('[F-209] an answer in another version of ARC is refused, and the version named', async (t) => {
  for (const [arc, isRead] of [
    ['2.0', false],
    ['0.9', false],
    ['10.0', false],
    ['', false],
    ['1.0', true],
    ['1.1', true],
    ['1', true],
  ] as const) {
    const { client } = await pair(t, [
      http(200, JSON.stringify(envelope({ arc, result: RESULT })), JSON_TYPE),
      http(500, JSON.stringify(envelope({ arc, error: { code: -43001, message: 'gone' } })), JSON_TYPE),
    ]);
    if (isRead) {
      t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
      t.match(await failure(client.chat.start(START)), { code: -43001 });
    } else {
      const reason = `Agent "support" answered in ARC "${arc}", not 1.0`;
      for (let i = 0; i < 2; i++) t.match(await failure(client.chat.start(START)), { code: -45001, reason });
    }
  }
});

t.test('an answer with the id of another request is taken, and logged once for each endpoint', async (t) => {
  const { logged, logger } = warnings();
  const { peer } = await pair(t, (socket, { json }) =>
    socket.write(answer(RESULT, json.targetAgent === 'right' ? { id: json.id } : { id: 7 })),
  );
  const client = connect(t, peer, { logger, endpoint: (agentId) => `${peer.url}/${agentId}` });
  for (const targetAgent of ['right', 'wrong', 'wrong', 'other', 'right']) {
    t.equal((await client.chat.start({ ...START, targetAgent })).result.chat.chatId, 'c1');
  }
  const message = 'an agent answers with an id that is not that of the request';
  t.same(logged, [message, message]);
});

t.test('errors may have any id', async (t) => {
  const { logged, logger } = warnings();
  const { client } = await pair(t, refusal({ code: -43001, message: 'gone' }), { logger });
  await failure(client.chat.start(START));
  t.same(logged, []);
});

t.test('an unsolicited `100 Continue` is ignored, cut anywhere', async (t) => {
  for (const bytes of [Buffer.from(CONTINUE), Buffer.from(`${CONTINUE}HTTP/1.1 100 Go on\r\nx: y\r\n\r\n`)]) {
    const sent = Buffer.concat([bytes, answer()]);
    for (const length of [1, 5, 12, 24, 26, 1000]) {
      const { client, peer } = await pair(t, (socket) => writeApart(socket, cut(sent, length)), { connections: 1 });
      for (let i = 0; i < 3; i++) t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
      t.equal(peer.connections, 1);
      await client.close();
    }
  }
});

t.test('what looks like it within an answer is a part of the answer', async (t) => {
  const text = `${CONTINUE}x`;
  const content = event('content', piece(text)) + DONE;
  const at = content.indexOf('HTTP');
  const parts = [content.slice(0, at), content.slice(at)].map((part) => Buffer.from(part));
  const { client } = await pair(t, (socket) =>
    writeApart(socket, [
      `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: ${Buffer.byteLength(content)}\r\n\r\n`,
      ...parts,
    ]),
  );
  const { events } = await drain(await client.chat.start(STREAM));
  t.match(events, [{ data: piece(text) }, { event: 'done' }]);
});

t.test('a long answer that begins like it is left to the HTTP parser', async (t) => {
  // Longer than what is read at once, so that its end is not known when the limit is reached.
  const long = Buffer.concat([Buffer.from(`HTTP/1.1 100 ${'x'.repeat(200_000)}\r\n\r\n`), answer()]);
  const { client } = await pair(t, long, { retries: 0 });
  t.match(await failure(client.chat.start(START)), { code: -41_003 });
});

t.test('JSON in another charset is decoded', async (t) => {
  const text = JSON.stringify(envelope({ result: { ...RESULT, word: 'Größe' } }));
  const charsets: Record<string, Buffer> = {
    'iso-8859-1': Buffer.from(text, 'latin1'),
    '"ISO-8859-1"': Buffer.from(text, 'latin1'),
    'utf-16le': Buffer.from(text, 'utf16le'),
    'utf-8': Buffer.from(text),
    UTF8: Buffer.from(text),
  };
  for (const [charset, bytes] of Object.entries(charsets)) {
    const { client } = await pair(t, http(200, bytes, { 'content-type': `application/json; charset=${charset}` }));
    t.match((await client.chat.start(START)).result, { word: 'Größe' }, charset);
  }
});

t.test('a charset that is not known, or not the right one, is an error and no guess', async (t) => {
  const bytes = Buffer.from(JSON.stringify(envelope({ result: { ...RESULT, word: 'Größe' } })), 'latin1');
  for (const charset of ['x-own', 'euc-jp']) {
    const { client } = await pair(t, http(200, bytes, { 'content-type': `application/json;charset=${charset}` }));
    const error = await failure(client.chat.start(START));
    t.match(error, { code: -41003, reason: new RegExp(`HTTP 200, text that is not ${charset}, as it says$`) });
  }
});

t.test('text/event-streaming is no stream of events', async (t) => {
  const { client } = await pair(t, http(200, DONE, { 'content-type': 'text/event-streaming' }));
  t.match(await failure(client.chat.start(STREAM)), { code: -41003, reason: /text\/event-streaming$/ });
});

/** A server that ends TLS, and redirects as the program behind it thinks best. */
async function behindTls(t: Parameters<typeof pair>[0], location: (port: number) => string) {
  const read = (file: string): Buffer => readFileSync(new URL(`../fixtures/tls/${file}`, import.meta.url));
  const paths: string[] = [];
  const server = createServer({ key: read('key.pem'), cert: read('cert.pem') }, (req, res) => {
    req.resume();
    paths.push(String(req.url));
    if (req.url === '/arc/')
      res.setHeader('content-type', 'application/json').end(answer().toString().split('\r\n\r\n')[1]);
    else res.writeHead(307, { location: location((server.address() as net.AddressInfo).port) }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  const client = connect(t, { url: '' }, { endpoint: `https://127.0.0.1:${port}/arc`, dispatcher, token: 'secret' });
  t.teardown(async () => {
    await dispatcher.destroy();
    server.closeAllConnections();
    server.close();
  });
  return { client, paths };
}

t.test('a redirect to http of the same host stays on https', async (t) => {
  for (const location of [() => 'http://127.0.0.1/arc/', (port: number) => `http://127.0.0.1:${port}/arc/`]) {
    const { client, paths } = await behindTls(t, location);
    t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
    t.same(paths, ['/arc', '/arc/']);
  }
});

t.test('a redirect to http of another host or port is not followed', async (t) => {
  for (const location of ['http://127.0.0.1:1/arc/', 'http://localhost/arc/', 'http://127.0.0.1.example/arc/']) {
    const { client, paths } = await behindTls(t, () => location);
    t.match(await failure(client.chat.start(START)), { code: -41003, reason: /redirect to another origin/ });
    t.same(paths, ['/arc']);
  }
});
