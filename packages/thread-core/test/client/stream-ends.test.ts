// How a stream ends: with `done`, with `[DONE]`, with the end of its HTTP body, or cut.
import t from 'tap';
import { StreamInterruptedError } from '../../src/protocol/errors.js';
import {
  chunk,
  cutStream,
  DONE,
  drain,
  event,
  failure,
  http,
  pair,
  piece,
  type Reply,
  START,
  STREAM,
  STREAM_HEAD,
  stream,
} from './support.js';

const SSE = { 'content-type': 'text/event-stream' };
const ONE = event('content', piece('a'));

/** Bodies that end as they should, without `done`. */
const COMPLETE: Record<string, Reply> = {
  'a chunked body': stream(ONE),
  'a body with a content length': http(200, ONE, SSE),
  'a body whose last event lacks its blank line': stream(ONE.slice(0, -2)),
};

for (const [what, reply] of Object.entries(COMPLETE)) {
  t.test(`[F-204] ${what} that ends after a piece is complete without done`, async (t) => {
    const { client } = await pair(t, reply);
    const { events, error } = await drain(await client.chat.start(STREAM));
    t.equal(error, undefined);
    t.match(events, [{ event: 'content' }, { event: 'done', data: null, json: 'null' }]);
    t.equal(events.length, 2);
    const { result } = await client.chat.start(START);
    t.match(result, { chat: { chatId: 'c1', message: { parts: [{ content: 'a' }] } } }, 'as JSON, too');
  });
}

t.test('[F-205] `data: [DONE]` is done, whatever the name of the event', async (t) => {
  for (const name of [undefined, 'content', 'message', 'metadata', 'progress', 'error', 'done']) {
    const { client } = await pair(t, STREAM_HEAD + chunk(ONE + event(name, '[DONE]')));
    const { events, error } = await drain(await client.chat.start(STREAM));
    t.equal(error, undefined);
    t.match(events, [{ event: 'content' }, { event: 'done', data: null }], String(name));
  }
});

t.test('a text that only has [DONE] in it is a piece', async (t) => {
  for (const text of ['"[DONE]"', ' [DONE]', '[DONE] ', '[DONE]x']) {
    const { client } = await pair(t, stream(event('content', text) + DONE));
    const { events } = await drain(await client.chat.start(STREAM));
    t.match(events, [{ event: 'content' }, { event: 'done', data: { done: true } }], text);
  }
});

t.test('[F-206] a stream without an event is no answer', async (t) => {
  for (const body of ['', ': only a comment\n\n', 'event: content\n\n', 'id: 7\n\n', '\n\n\n']) {
    for (const ask of [STREAM, START]) {
      const { client } = await pair(t, stream(body));
      const error = await failure(client.chat.start(ask));
      t.match(error, { code: -41003, reason: /HTTP 200, a stream without an event$/ }, JSON.stringify(body));
    }
  }
});

/** Streams that are cut, or may be. */
const CUT: Record<string, Reply> = {
  'a chunked body without its last chunk': cutStream(ONE),
  'a body that is shorter than its content length': (socket) =>
    socket.end(http(200, ONE, { ...SSE, 'content-length': '1000' })),
  'a body that is complete, and ends within an event': stream(`${ONE}data: {"chatId":"c1","mess`),
  'a body with the page of a proxy behind an event': http(200, `${ONE}<html>502</html>`, SSE),
  'a body that ends where its connection does': (socket) =>
    socket.end(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n${ONE}`),
};

for (const [what, reply] of Object.entries(CUT)) {
  t.test(`[F-210] [F-211] ${what} is interrupted`, async (t) => {
    const { client } = await pair(t, reply);
    const { events, error } = await drain(await client.chat.start(STREAM));
    t.match(events[0], { event: 'content', data: piece('a') });
    t.ok(events.every(({ event }) => event === 'content'));
    t.ok(error instanceof StreamInterruptedError);
    t.match(error, { code: -43104 });
  });
}
