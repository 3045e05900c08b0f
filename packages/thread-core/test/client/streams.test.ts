// Answers that are streams of events, in every form that agents give them.
import t, { type Test } from 'tap';
import { Agent } from 'undici';
import type { ArcEvent } from '../../src/client/event.js';
import type { ArcStream } from '../../src/client/stream.js';
import { StreamInterruptedError, StreamTimeoutError } from '../../src/protocol/errors.js';
import {
  answer,
  chunk,
  cut,
  cutStream,
  DONE,
  drain,
  event,
  failure,
  http,
  LAST_CHUNK,
  pair,
  piece,
  RESULT,
  START,
  STREAM,
  STREAM_HEAD,
  stream,
  writeApart,
} from './support.js';

type Heard = Partial<ArcEvent>;

/** Reads a stream with this body. */
async function read(
  t: Test,
  body: string | Uint8Array,
): Promise<{ events: ArcEvent[]; error?: unknown; asked: ArcStream }> {
  const { client } = await pair(t, stream(body));
  const asked = await client.chat.start(STREAM);
  return { ...(await drain(asked)), asked };
}

const withChat = { type: 'chat', chat: { chatId: 'c1', status: 'ACTIVE', message: { role: 'agent', parts: [] } } };

/** A stream's body, and what is heard of it. */
const FORMS: Record<string, [body: string, heard: Heard[]]> = {
  'event: stream': [event('stream', piece('a')) + DONE, [{ event: 'content', data: piece('a'), chatId: 'c1' }]],
  'event: chat': [event('chat', withChat) + DONE, [{ event: 'content', data: withChat, chatId: 'c1' }]],
  'event: content': [event('content', piece('a')) + DONE, [{ event: 'content', data: piece('a') }]],
  'event: message': [event('message', piece('a')) + DONE, [{ event: 'content', data: piece('a') }]],
  'no event name': [event(undefined, piece('a')) + DONE, [{ event: 'content', data: piece('a') }]],
  'an empty event name': [event('', piece('a')) + DONE, [{ event: 'content', data: piece('a') }]],
  'an envelope as data': [
    event('stream', { arc: '1.0', result: withChat }) + DONE,
    [{ event: 'content', chatId: 'c1' }],
  ],
  'a bare string': [`data: Hello there\n\n${DONE}`, [{ event: 'content', data: 'Hello there', json: '"Hello there"' }]],
  'a JSON string': [`data: "Hello"\n\n${DONE}`, [{ event: 'content', data: 'Hello', json: '"Hello"' }]],
  'no space after the colon': [`event:stream\ndata:{"chatId":"c1"}\n\n${DONE}`, [{ event: 'content', chatId: 'c1' }]],
  'an empty piece': [`event: stream\ndata:\n\n${DONE}`, [{ event: 'content', data: '', json: '""' }]],
  'event: metadata': [event('metadata', { model: 'x' }) + DONE, [{ event: 'metadata', data: { model: 'x' } }]],
  'names of the application': [
    event('progress', { percent: 5 }) + event('tool_call', 'find') + DONE,
    [
      { event: 'progress', data: { percent: 5 } },
      { event: 'tool_call', data: 'find', json: '"find"' },
    ],
  ],
  'ids and retry times': [
    `id: 7\nretry: 100\nretry: x\nodd: 1\ndata: "a"\n\n${DONE}`,
    [{ event: 'content', data: 'a' }],
  ],
  comments: [`: hello\n\n:\n\ndata: "a"\n: between\n\n: ping\n\n${DONE}`, [{ event: 'content', data: 'a' }]],
  'data of several lines': [
    `data: {"a":\ndata:  1}\n\ndata: one\ndata: two\n\n${DONE}`,
    [
      { data: { a: 1 }, json: '{"a":\n 1}' },
      { data: 'one\ntwo', json: '"one\\ntwo"' },
    ],
  ],
  'a byte order mark': [`\ufeffdata: "a"\n\n${DONE}`, [{ event: 'content', data: 'a' }]],
};

for (const [form, [body, heard]] of Object.entries(FORMS)) {
  t.test(`a stream is read: ${form}`, async (t) => {
    const { events, error, asked } = await read(t, body);
    t.equal(error, undefined);
    t.equal(events.length, heard.length + 1);
    for (const [i, each] of heard.entries()) t.match(events[i], each);
    t.match(events.at(-1), { event: 'done', chatId: 'c1' });
    t.equal(asked.chatId, 'c1');
    t.equal(asked.response, undefined);
    t.equal(asked.restarted, false);
  });
}

/** Endings of a stream, and what is heard of them. */
const ENDINGS: Record<string, [body: string, heard: Heard]> = {
  'done with a chat id': [
    event('done', { chatId: 'c1', status: 'ACTIVE', done: true, requestId: 'r' }),
    { chatId: 'c1', data: { done: true } },
  ],
  'done with a chat': [event('done', { chat: { chatId: 'c1', status: 'ACTIVE' } }), { chatId: 'c1' }],
  'done with {"done":true}': [event('done', { done: true }), { data: { done: true }, chatId: undefined }],
  'done with empty data': ['event: done\ndata:\n\n', { data: null, json: 'null' }],
  'done with empty data after a space': ['event: done\ndata: \n\n', { data: null, json: 'null' }],
  'done with data that is no JSON': [event('done', 'bye'), { data: 'bye', json: '"bye"' }],
  'done without data': ['event: done\n\n', { data: null, json: 'null' }],
  'done without data and without a space': ['event:done\n\n', { data: null }],
  'done without data or a blank line': ['event: done\n', { data: null }],
  'done without data or a line end': ['event: done', { data: null }],
  'done without data, with CRLF': ['event: done\r\n\r\n', { data: null }],
  'done without data, with CR': ['event: done\r\r', { data: null }],
  'done without a blank line': ['event: done\ndata: {"chatId":"c1"}\n', { chatId: 'c1' }],
  'done without a line end': ['event: done\ndata: {"chatId":"c1"}', { chatId: 'c1' }],
  'error with an error inside': [
    event('error', { chatId: 'c1', error: { code: -43005, message: 'no' } }),
    { event: 'error', data: { error: { code: -43005 } }, chatId: undefined },
  ],
  'error with code and message': [
    event('error', { message: 'no', code: -43005 }),
    { event: 'error', data: { code: -43005 } },
  ],
  'error with a string': [event('error', 'no'), { event: 'error', data: 'no', json: '"no"' }],
  'error, then done': [event('error', { code: -43005 }) + event('done', { status: 'ERROR' }), { event: 'error' }],
  'error, then a bare done': [event('error', { code: -43005 }) + event('done', { done: true }), { event: 'error' }],
  'error, then more': [event('error', { code: -43005 }) + event('stream', piece('b')) + DONE, { event: 'error' }],
  'done, then more': [DONE + event('stream', piece('b')) + event('error', 'no'), { chatId: 'c1' }],
};

for (const [ending, [body, heard]] of Object.entries(ENDINGS)) {
  t.test(`a stream ends with ${ending}`, async (t) => {
    const { events, error } = await read(t, event('stream', piece('a', 'c0')) + body);
    t.equal(error, undefined);
    t.equal(events.length, 2);
    t.match(events[0], { event: 'content', chatId: 'c0' });
    t.match(events[1], { event: 'done', ...heard });
    const alone = await read(t, body);
    t.match(alone.events, [{ event: 'done', ...heard }], 'also where it is all there is');
    t.equal(alone.events.length, 1);
  });
}

const text = `${event('stream', piece('zwölf ☃ 😀'))}: ping\n\n${event('progress', 'naïve')}${DONE}`;

for (const [name, lineEnd] of Object.entries({ LF: '\n', CRLF: '\r\n', CR: '\r' })) {
  t.test(`a stream with ${name} is the same, cut at whatever byte`, async (t) => {
    const bytes = Buffer.from(text.replaceAll('\n', lineEnd));
    const expected = (await read(t, bytes)).events;
    t.same(
      expected.map(({ event }) => event),
      ['content', 'progress', 'done'],
    );
    t.same(expected[0]?.data, piece('zwölf ☃ 😀'));
    let at = 0;
    const { client } = await pair(t, (socket) => {
      const pieces = at > 0 ? [bytes.subarray(0, at), bytes.subarray(at)] : [...cut(bytes, 1)];
      return writeApart(socket, [STREAM_HEAD, ...pieces.map(chunk), LAST_CHUNK]);
    });
    for (; at < bytes.length; at++) {
      const { events, error } = await drain(await client.chat.start(STREAM));
      if (error !== undefined || JSON.stringify(events) !== JSON.stringify(expected))
        t.fail(`cut at ${at}`, { events, error });
    }
  });
}

t.test('numbers of twenty digits and the spacing of JSON are kept in an event’s json', async (t) => {
  const json = '{"id": 12345678901234567890,  "x":1.10,"chatId":"c1"}';
  const { events } = await read(t, `data: ${json}\n\nevent: done\ndata: ${json}\n\n`);
  t.equal(events[0]?.json, json);
  t.equal(events[1]?.json, json);
  t.equal(events[0]?.chatId, 'c1');
});

t.test('bytes that are no UTF-8 become replacement characters', async (t) => {
  const { events } = await read(
    t,
    Buffer.concat([Buffer.from('data: "a'), Buffer.from([0xff]), Buffer.from(`b"\n\n${DONE}`)]),
  );
  t.equal(events[0]?.data, 'a\ufffdb');
});

t.test('the chat id is known from the first event that says it', async (t) => {
  const { asked } = await read(
    t,
    event('progress', 1) + event('stream', 'text') + event('done', { chat: { chatId: 'late' } }),
  );
  t.equal(asked.chatId, 'late');
  const odd = await read(t, event('stream', { chatId: 7, chat: null }) + event('done', { chatId: '', result: 'x' }));
  t.equal(odd.asked.chatId, undefined, 'what is no string is no id');
});

t.test('a stream that breaks off without done or error is interrupted', async (t) => {
  for (const body of [
    event('stream', piece('a')),
    `${event('stream', piece('a'))}: done\n\n`,
    'data: event: done\n\n',
  ]) {
    const { client } = await pair(t, cutStream(body));
    const result = client.chat.start({ ...STREAM, traceId: 'tr' });
    const { error } = await drain(await result);
    t.ok(error instanceof StreamInterruptedError, JSON.stringify(body));
    t.ok(error instanceof StreamTimeoutError);
    t.match(error, {
      code: -43104,
      reason: 'The stream broke off: connection closed (UND_ERR_SOCKET)',
      status: 200,
      agentId: 'support',
      method: 'chat.start',
      traceId: 'tr',
      fromAgent: false,
    });
  }
});

t.test('an error event without data is no end', async (t) => {
  const { client } = await pair(t, stream('event: error\n\n'));
  t.match(await failure(client.chat.start(STREAM)), { code: -41003 });
});

t.test('done ends a stream at once, though the agent keeps its connection open', async (t) => {
  const forms = [DONE, 'event: done\ndata:\n\n', 'event: done\n\n', 'event: done\r\n\r\n', `: x\n\nevent:done\n\n`];
  await Promise.all(
    forms.map(async (done) => {
      const { peer, client } = await pair(t, STREAM_HEAD + chunk(event('stream', piece('a')) + done));
      const { events, error } = await drain(await client.chat.start(STREAM));
      t.equal(error, undefined);
      t.same(
        events.map(({ event }) => event),
        ['content', 'done'],
        JSON.stringify(done),
      );
      // It has a moment to end its answer, and is then cut off.
      t.equal(peer.open, 1);
      await peer.until(() => peer.open === 0);
    }),
  );
});

t.test('the connection of a stream that is done is closed with its client, whoever made it', async (t) => {
  const dispatcher = new Agent();
  t.teardown(() => dispatcher.destroy());
  const { peer, client } = await pair(t, STREAM_HEAD + chunk(DONE), { dispatcher });
  await drain(await client.chat.start(STREAM));
  t.equal(peer.open, 1);
  await client.close();
  await peer.until(() => peer.open === 0);
});

t.test('a done without data is seen though it comes a byte at a time', async (t) => {
  const bytes = Buffer.from(`data: "a"\n\nevent: done\n\n`);
  const { client } = await pair(t, (socket) => writeApart(socket, [STREAM_HEAD, ...[...cut(bytes, 1)].map(chunk)]));
  const { events } = await drain(await client.chat.start(STREAM));
  t.same(
    events.map(({ event, data }) => [event, data]),
    [
      ['content', 'a'],
      ['done', null],
    ],
  );
});

t.test('a line that only looks like a done without data does not end a stream', async (t) => {
  const body = 'event: done\ndata: {"chatId":"c9"}\n\n';
  const { client } = await pair(t, (socket) =>
    writeApart(socket, [STREAM_HEAD, ...[...cut(Buffer.from(body), 12, 100)].map(chunk), LAST_CHUNK]),
  );
  const { events } = await drain(await client.chat.start(STREAM));
  t.match(events, [{ event: 'done', data: { chatId: 'c9' } }]);
});

t.test('a request for a stream that is answered by JSON is a stream of one piece', async (t) => {
  const { client } = await pair(t, answer());
  const asked = await client.chat.start(STREAM);
  t.same(asked.response?.result, RESULT);
  const { events } = await drain(asked);
  t.match(events, [
    { event: 'content', data: RESULT.chat, json: JSON.stringify(RESULT.chat), chatId: 'c1' },
    { event: 'done', data: { chatId: 'c1', status: 'ACTIVE', done: true }, chatId: 'c1' },
  ]);
  t.equal(events.length, 2);
  t.equal(asked.chatId, 'c1');
});

t.test('a result without a chat is a stream of one piece, too', async (t) => {
  for (const result of [{ success: true }, 'yes', [1], { chat: null }, { chat: 'c1' }]) {
    const { client } = await pair(t, answer(result));
    const asked = await client.chat.start(STREAM);
    const { events, error } = await drain(asked);
    t.equal(error, undefined);
    t.same(
      events.map(({ event }) => event),
      ['content', 'done'],
      JSON.stringify(result),
    );
    t.equal(events[0]?.json, JSON.stringify(events[0]?.data), 'its data is what its json says');
    t.equal(asked.chatId, undefined);
  }
});

t.test('a request for a stream that is refused in JSON is rejected', async (t) => {
  const { client } = await pair(t, http(500, '{"arc":"1.0","id":"x","error":{"code":-43001,"message":"gone"}}'));
  t.match(await failure(client.chat.start(STREAM)), { code: -43001, status: 500, fromAgent: true });
});

t.test('a request for JSON that is answered by a stream gives one envelope of all its pieces', async (t) => {
  const body = [
    event('metadata', { model: 'x' }),
    event('stream', {
      chatId: 'c1',
      message: {
        role: 'agent',
        parts: [
          { type: 'TextPart', content: 'one ' },
          { type: 'image', url: 'u' },
        ],
      },
    }),
    'data: two \n\n',
    'data: 42\n\n',
    event('chat', {
      type: 'chat',
      chat: { chatId: 'c1', status: 'ACTIVE', message: { role: 'agent', parts: [{ type: 'text', content: 'three' }] } },
    }),
    event('progress', { chatId: 'other', percent: 1 }),
    event('done', { chatId: 'c1', status: 'PAUSED', done: true, requestId: 'r' }),
  ].join('');
  const { client } = await pair(t, stream(body));
  const response = await client.chat.start(START);
  t.same(response.result, {
    type: 'chat',
    chat: {
      chatId: 'c1',
      status: 'PAUSED',
      message: {
        role: 'agent',
        parts: [
          { type: 'TextPart', content: 'one ' },
          { type: 'image', url: 'u' },
          { type: 'text', content: 'two ' },
          { type: 'text', content: '42' },
          { type: 'text', content: 'three' },
        ],
      },
    },
  });
  t.equal(response.events?.length, 7);
  t.notOk(Object.keys(response).includes('events'));
  t.equal(response.restarted, false);
});

t.test('a collected stream may hold whatever it likes', async (t) => {
  const body = [
    'null',
    '[1]',
    '{"chat":null}',
    '{"chat":"c1"}',
    '{"message":null}',
    '{"message":{"parts":7}}',
    'true',
  ].map((data) => `data: ${data}\n\n`);
  const { client } = await pair(t, [
    stream(`${body.join('')}event: done\ndata: {"chat":null}\n\n`),
    stream(`data: {"chatId":"c1","message":{"parts":[${'0,'.repeat(200_000)}0]}}\n\n${DONE}`),
    stream('event: done\n\n'),
  ]);
  t.match((await client.chat.start(START)).result.chat.message, { role: 'agent' });
  t.equal((await client.chat.start(START)).result.chat.message?.parts.length, 200_001);
  t.same((await client.chat.start(START)).result.chat.message?.parts, []);
});

t.test('a request for JSON that is answered by a stream with an error is rejected', async (t) => {
  const { client } = await pair(
    t,
    stream(event('stream', piece('a')) + event('error', { error: { code: -43002, message: 'closed', details: 5 } })),
  );
  t.match(
    await failure(
      client.chat.message({ targetAgent: 'support', chatId: 'c1', message: START.initialMessage, traceId: 'tr' }),
    ),
    {
      code: -43002,
      reason: 'closed',
      details: 5,
      status: 200,
      agentId: 'support',
      method: 'chat.message',
      traceId: 'tr',
      fromAgent: true,
    },
  );
});

t.test('a request for JSON that is answered by a stream that breaks off is interrupted', async (t) => {
  const { client } = await pair(t, cutStream(event('stream', piece('a'))));
  t.ok((await failure(client.chat.start(START))) instanceof StreamInterruptedError);
});

t.test('the content type alone says what is a stream', async (t) => {
  const { client } = await pair(t, [
    http(200, DONE, { 'content-type': 'Text/Event-Stream; charset=utf-8' }),
    http(500, event('error', { code: -43001, message: 'gone' }), { 'content-type': 'text/event-stream' }),
    http(200, DONE, { 'content-type': 'text/plain' }),
  ]);
  t.match((await drain(await client.chat.start(STREAM))).events, [{ event: 'done' }]);
  t.match((await drain(await client.chat.start(STREAM))).events, [{ event: 'error' }], 'whatever the status');
  t.match(await failure(client.chat.start(STREAM)), { code: -41003, reason: /HTTP 200, text\/plain/ });
});

t.test('[F-526] an event that is nested more than 10,000 levels deep is text', async (t) => {
  const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
  const texts = [nested(10_001), `{"n":NaN,"chatId":"c7","x":${nested(10_000)}}`, '['.repeat(200_000)];
  for (const text of texts) {
    const { events } = await read(t, `data: ${text}\n\n${event('progress', 1)}${DONE}`);
    t.ok(events[0]?.data === text, 'as the agent sent it');
    t.strictSame(
      events.map(({ event, chatId }) => [event, chatId]),
      [
        ['content', undefined],
        ['progress', undefined],
        ['done', 'c1'],
      ],
    );
  }
  const { events } = await read(t, `data: ${nested(10_000)}\n\n${DONE}`);
  t.ok(Array.isArray(events[0]?.data), 'and one that is nested less is JSON');
});
