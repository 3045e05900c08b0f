// Answers that are one JSON envelope, in every form that agents give them.
import t from 'tap';
import { AgentUnreachableError, ChatNotFoundError, InternalError } from '../../src/protocol/errors.js';
import { answer, envelope, failure, HELLO, http, pair, RESULT, refusal, START } from './support.js';

t.test('a request is sent in the first form of the specification', async (t) => {
  const { peer, client } = await pair(t, answer(), { token: 'secret' });
  await client.chat.start({ ...START, chatId: 'c1', metadata: { k: 1 }, traceId: 'tr-1' });
  await client.chat.message({ targetAgent: 'support', chatId: 'c1', message: HELLO, stream: false });
  await client.chat.end({ targetAgent: 'support', chatId: 'c1' });
  const [start, message, end] = peer.requests;
  t.match(start, { method: 'POST', path: '/arc' });
  t.match(start?.headers, {
    'content-type': 'application/arc+json',
    accept: 'application/arc+json, text/event-stream',
    authorization: 'Bearer secret',
  });
  const { id, ...rest } = start?.json ?? {};
  t.same(rest, {
    arc: '1.0',
    method: 'chat.start',
    requestAgent: 'arc-threads',
    targetAgent: 'support',
    traceId: 'tr-1',
    params: { initialMessage: HELLO, chatId: 'c1', metadata: { k: 1 } },
  });
  t.match(message?.json, { method: 'chat.message', params: { chatId: 'c1', message: HELLO, stream: false } });
  t.same(end?.json.params, { chatId: 'c1' }, 'what is not given is not sent');
  t.notOk('traceId' in (end?.json ?? {}));
  const ids = [id, message?.json.id, end?.json.id];
  t.ok(ids.every((each) => typeof each === 'string' && each.length > 0));
  t.equal(new Set(ids).size, 3, 'every request has an id of its own');
});

t.test('without a token no authorization is sent', async (t) => {
  const { peer, client } = await pair(t, answer());
  await client.chat.start(START);
  t.notOk('authorization' in (peer.requests[0]?.headers ?? {}));
});

t.test('an error is read from the body, whatever the HTTP status says', async (t) => {
  for (const status of [200, 400, 401, 403, 404, 500, 502]) {
    const { client } = await pair(t, refusal({ code: -43001, message: 'gone', details: { chatId: 'c1' } }, status));
    const error = await failure(client.chat.start(START));
    t.ok(error instanceof ChatNotFoundError, `HTTP ${status}`);
    t.match(error, { code: -43001, status, reason: 'gone', details: { chatId: 'c1' }, fromAgent: true });
  }
});

t.test('a result is read from the body, whatever the HTTP status says', async (t) => {
  for (const status of [201, 202, 400, 500]) {
    const { client } = await pair(t, http(status, JSON.stringify(envelope({ result: RESULT }))));
    t.same((await client.chat.start(START)).result, RESULT, `HTTP ${status}`);
  }
});

t.test('details are read under both their names, and are null if there are none', async (t) => {
  for (const [given, expected] of [
    [{ details: { a: 1 } }, { a: 1 }],
    [{ data: { b: 2 } }, { b: 2 }],
    [{ details: null, data: 'text' }, 'text'],
    [{ details: null }, null],
    [{ details: 0 }, 0],
    [{}, null],
  ] as const) {
    const { client } = await pair(t, refusal({ code: -43001, message: 'gone', ...given }));
    t.same((await failure(client.chat.start(START))).details, expected, JSON.stringify(given));
  }
});

t.test('an answer belongs to its connection, whatever its id, responseAgent and targetAgent', async (t) => {
  for (const id of ['error', 'r1', 42, 'b7c9', null]) {
    const { client } = await pair(t, answer(RESULT, { id, responseAgent: 'server-9', targetAgent: 'unknown' }));
    const response = await client.chat.start(START);
    t.equal(response.result.chat.chatId, 'c1');
    t.equal(response.id, id, 'and is handed on as it is');
  }
});

t.test('of result and error, the one that does not count may be absent or null', async (t) => {
  const { client } = await pair(t, [
    http(200, JSON.stringify(envelope({ result: RESULT }))),
    http(200, JSON.stringify(envelope({ result: RESULT, error: null }))),
    http(200, JSON.stringify(envelope({ error: { code: -43001, message: 'gone' } }))),
    http(200, JSON.stringify(envelope({ result: null, error: { code: -43001, message: 'gone' } }))),
    http(200, JSON.stringify(envelope({ result: null, error: null }))),
    http(200, JSON.stringify(envelope({}))),
  ]);
  t.same((await client.chat.start(START)).result, RESULT);
  t.same((await client.chat.start(START)).result, RESULT);
  t.equal((await failure(client.chat.start(START))).code, -43001);
  t.equal((await failure(client.chat.start(START))).code, -43001);
  for (const what of ['null', 'absent']) {
    const neither = await failure(client.chat.start(START));
    t.ok(neither instanceof AgentUnreachableError, `both ${what}`);
    t.equal(neither.reason, 'Agent "support" gave no ARC answer: HTTP 200, neither result nor error');
  }
});

t.test('the content type of an envelope does not matter', async (t) => {
  const body = JSON.stringify(envelope({ result: RESULT }));
  const types = [
    'application/arc+json',
    'application/json',
    'Application/JSON; charset=utf-8',
    'text/plain',
    undefined,
  ];
  for (const type of types) {
    const { client } = await pair(t, http(200, body, type === undefined ? {} : { 'content-type': type }));
    t.same((await client.chat.start(START)).result, RESULT, String(type));
  }
});

t.test('a byte order mark before an envelope is not part of it', async (t) => {
  const { client } = await pair(t, http(200, `\ufeff${JSON.stringify(envelope({ result: RESULT }))}`));
  t.same((await client.chat.start(START)).result, RESULT);
});

t.test('parts keep their spelling, and unknown fields are passed on', async (t) => {
  const parts = [
    { type: 'text', content: 'a' },
    { type: 'TextPart', content: 'b' },
    { type: 'DataPart', content: { x: [1, null] }, mimeType: 'application/json' },
    { type: 'tool_call', name: 'find', arguments: {} },
    { type: 'whatever' },
  ];
  const result = {
    type: 'chat',
    chat: { chatId: 'c1', status: 'ODD', message: { role: 'agent', parts }, extra: { deep: [1] } },
  };
  const { peer, client } = await pair(t, answer(result, { extension: true }));
  const response = await client.chat.start({ ...START, initialMessage: { role: 'user', parts } });
  t.same(response.result, result);
  t.match(response, { extension: true });
  t.same(peer.requests[0]?.json.params, { initialMessage: { role: 'user', parts } });
});

t.test('chat.end is answered by a closed chat, or by nothing but success', async (t) => {
  const { client } = await pair(t, [
    answer({ type: 'chat', chat: { chatId: 'c1', status: 'CLOSED' } }),
    answer({ success: true }),
  ]);
  const end = () => client.chat.end({ targetAgent: 'support', chatId: 'c1', reason: 'done' });
  t.match((await end()).result, { chat: { status: 'CLOSED' } });
  t.same((await end()).result, { success: true });
});

t.test('an error without a code is an internal error with the text of the agent', async (t) => {
  for (const [error, reason] of [
    ['it broke', 'it broke'],
    [{ message: 'it broke' }, 'it broke'],
    [{ code: '-43001', message: 'it broke' }, 'it broke'],
    [{ code: 1.5, message: 'it broke' }, 'it broke'],
    [{ reason: 'it broke' }, '{"reason":"it broke"}'],
    [['it', 'broke'], '["it","broke"]'],
    ['', 'The agent gave no reason'],
    [{ code: -32603 }, 'The agent gave no reason'],
    [{ code: -32603, message: { text: 'it broke' } }, '{"text":"it broke"}'],
  ] as const) {
    const { client } = await pair(t, refusal(error));
    const got = await failure(client.chat.start(START));
    t.ok(got instanceof InternalError, JSON.stringify(error));
    t.match(got, { code: -32603, reason, fromAgent: true });
  }
});

t.test('an error that is nested too deeply to be written is still an error', async (t) => {
  const deep = '['.repeat(9000) + ']'.repeat(9000);
  const { client } = await pair(t, [
    http(200, `{"arc":"1.0","id":"r","error":{"code":-43001,"message":${deep}}}`),
    http(200, `{"arc":"1.0","id":"r","error":${deep}}`),
  ]);
  t.ok((await failure(client.chat.start(START))) instanceof ChatNotFoundError);
  t.ok((await failure(client.chat.start(START))) instanceof InternalError);
});

t.test('[F-526] an answer that is nested more than 10,000 levels deep is none, and the error says so', async (t) => {
  const deep = '['.repeat(10_000) + ']'.repeat(10_000);
  for (const body of [
    `{"arc":"1.0","id":"r","result":{"chat":{"chatId":"c"}},"x":${deep}}`,
    `{"arc":"1.0","id":"r","result":{"chat":{"chatId":"c"}},"n":NaN,"x":${deep}}`,
    '['.repeat(200_000),
  ]) {
    const { client } = await pair(t, http(200, body));
    const error = await failure(client.chat.start(START));
    t.ok(error instanceof AgentUnreachableError);
    t.match(error.message, /gave no ARC answer: HTTP 200, JSON that is nested more than 10,000 levels deep/);
  }
});
