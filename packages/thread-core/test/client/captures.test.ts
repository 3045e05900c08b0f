import { readdirSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { ArcClient, ArcEvent, ArcResponse, ArcStream, ChatEndResult } from '../../src/index.js';
import { AgentUnreachableError, ArcError, arcError } from '../../src/protocol/errors.js';
import { EXPECTED, type Expected } from './captures.expected.js';
import { connect, cut, drain, type Json, START, serve, writeApart } from './support.js';

const FOLDER = new URL('../fixtures/captures/', import.meta.url);
const NAMES = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.http'))
  .map((file) => file.slice(0, -'.http'.length));

type Answer = ArcResponse | ArcResponse<ChatEndResult> | ArcStream;

/** What the recorded request says, or nothing where it is none that a client would send. */
function recorded(name: string): Json | undefined {
  const raw = readFileSync(new URL(`${name}.req`, FOLDER), 'utf8');
  try {
    const request: unknown = JSON.parse(raw.slice(raw.indexOf('\r\n\r\n') + 4));
    return typeof request === 'object' && request !== null && !Array.isArray(request) ? (request as Json) : undefined;
  } catch {
    return undefined;
  }
}

/** Asks what the recorded request asked, with the method that comes nearest where there is none. */
function ask(client: ArcClient, request: Json): Promise<Answer> {
  const options = {
    ...(typeof request.params === 'object' ? request.params : {}),
    targetAgent: String(request.targetAgent ?? 'test-arc-server'),
    ...(request.traceId === undefined ? {} : { traceId: String(request.traceId) }),
  };
  // Parameters that a request lacks are what was recorded: the types would not let them be left out.
  if (request.method === 'chat.message') return client.chat.message(options as never);
  if (request.method === 'chat.end') return client.chat.end(options as never);
  return client.chat.start(request.method === 'chat.start' ? (options as never) : START);
}

function checkStream(t: Test, expected: Extract<Expected, { streamOf: string }>, events: ArcEvent[], asked: ArcStream) {
  const { streamOf, pieces = 3, ends } = expected;
  const last = events.at(-1);
  t.equal(events.length, pieces + 1);
  t.equal(asked.chatId, streamOf === '' ? undefined : streamOf);
  const content = events.slice(0, -1);
  t.ok(content.every(({ event, chatId }) => event === 'content' && chatId === streamOf));
  t.same(
    content.map(({ data }) => (data as { message: { parts: Json[] } }).message.parts[0]?.content),
    ['one ', 'two\nlines ', 'three'].slice(0, pieces),
  );
  if (ends === 'done') t.match(last, { event: 'done', chatId: streamOf, data: { done: true, status: 'ACTIVE' } });
  else t.match(last, { event: 'error', data: { error: { code: ends } } });
}

function checkChat(t: Test, expected: Extract<Expected, { chat: string }>, response: ArcResponse<ChatEndResult>) {
  const { chat, status, text, id, traceId } = expected;
  t.equal(response.result.chat?.chatId, chat);
  t.equal(response.result.chat?.status, status);
  t.equal(response.result.chat?.message?.parts?.[0]?.content, text);
  if (text !== undefined) t.equal(response.result.chat?.message?.parts?.[0]?.type, 'TextPart');
  t.equal(response.id, id);
  t.equal(response.traceId, traceId);
  t.equal(response.restarted, false);
}

async function check(t: Test, expected: Expected, asked: Promise<Answer>): Promise<void> {
  let got: Answer;
  try {
    got = await asked;
  } catch (error) {
    if (!(error instanceof ArcError)) throw error;
    if ('noArc' in expected) {
      t.ok(error instanceof AgentUnreachableError);
      t.match(error, { code: -41003, status: expected.noArc, fromAgent: false });
      t.equal(error.reason, `Agent "${error.agentId}" gave no ARC answer: HTTP ${expected.noArc}, ${expected.because}`);
    } else if ('code' in expected) {
      t.match(error, { code: expected.code, status: expected.http, reason: expected.says, fromAgent: true });
      t.equal(error.constructor, arcError(expected.code, '').constructor);
    } else {
      throw error;
    }
    return;
  }
  if ('streamOf' in expected) {
    const { events } = await drain(got as ArcStream);
    checkStream(t, expected, events, got as ArcStream);
  } else if ('chat' in expected && 'response' in got) {
    const { events } = await drain(got);
    t.same(
      events.map(({ event }) => event),
      ['content', 'done'],
      'a whole answer is a stream of one piece',
    );
    checkChat(t, expected, got.response as ArcResponse);
  } else if ('chat' in expected) {
    checkChat(t, expected, got as ArcResponse<ChatEndResult>);
  } else {
    t.fail('it is no error', { got });
  }
}

t.test('every recorded answer has an expectation, and every expectation a recorded answer', async (t) => {
  t.same(Object.keys(EXPECTED).sort(), [...NAMES].sort());
});

const CUTS: Record<string, number[]> = {
  'in one piece': [Number.POSITIVE_INFINITY],
  'a byte at a time': [1],
  'in odd chunks': [7, 1, 13, 2, 64, 3],
};

for (const [how, lengths] of Object.entries(CUTS)) {
  t.test(`a recorded answer that arrives ${how} is read for what it is`, async (t) => {
    for (const name of NAMES) {
      await t.test(name, async (t) => {
        const bytes = readFileSync(new URL(`${name}.http`, FOLDER));
        const peer = await serve(t, (socket) => writeApart(socket, cut(bytes, ...lengths)).then(() => socket.end()));
        const expected = EXPECTED[name];
        if (expected === undefined) throw new Error('There is no expectation');
        const request = recorded(name) ?? {};
        await check(t, expected, ask(connect(t, peer), request));

        // Where the recorded request is a right one, it is also what is sent.
        const sent = peer.requests[0]?.json ?? {};
        if (
          typeof request.params === 'object' &&
          request.params !== null &&
          /^chat\.(start|message|end)$/.test(String(request.method))
        ) {
          t.same(sent.params, request.params);
          t.equal(sent.method, request.method);
          t.equal(sent.traceId, request.traceId);
        }
      });
    }
  });
}
