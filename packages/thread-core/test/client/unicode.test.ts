import t from 'tap';
import { InvalidRequestError } from '../../src/protocol/errors.js';
import { hasLoneSurrogate } from '../../src/values.js';
import { failure, pair, START } from './support.js';

t.test('half of a surrogate pair is never sent to an agent, from whatever field', async (t) => {
  const { client, peer } = await pair(t, (socket) => socket.destroy());
  const half = 'x\ud83d';
  const message = { role: 'user', parts: [{ type: 'text', content: half }] };
  for (const options of [
    { ...START, initialMessage: message },
    { ...START, metadata: { [half]: 1 } },
    { ...START, traceId: half },
    { ...START, chatId: half },
  ]) {
    const error = await failure(client.chat.start(options));
    t.ok(error instanceof InvalidRequestError, error.message);
    t.match(error.message, /well-formed Unicode/);
  }
  t.equal(peer.requests.length, 0);
});

t.test('only half of a pair is found, not what looks like its escape', async (t) => {
  for (const text of ['\ud800', 'a\udfff', '\\\ud800', '\\\\\udc00', '\ude00\ud83d', '"\ud800"']) {
    t.equal(hasLoneSurrogate(JSON.stringify({ text })), true, JSON.stringify(text));
    t.equal(hasLoneSurrogate(JSON.stringify({ [text]: 1 })), true, JSON.stringify(text));
  }
  for (const text of [
    '',
    '😀',
    '\\ud800',
    '\\\\ud800',
    '\\\\\\udc00',
    '\ud7ff\ue000',
    'ud800',
    `${'\\'.repeat(100_000)}ud`,
  ]) {
    t.equal(hasLoneSurrogate(JSON.stringify({ text })), false, text.slice(0, 20));
  }
});
