// Many short events in one chunk, whose reader stops in the middle of it.
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Call } from '../../src/client/call.js';
import { chunk, DONE, event, HELLO, LAST_CHUNK, pair, piece, type Reply, STREAM_HEAD } from './support.js';

const COUNT = 2000;
const MANY = Array.from({ length: COUNT }, (_, at) => event('content', piece(`${at}`))).join('');

/** Asks for a stream, and pauses it at its first event. `texts`: the events that have come, and how it ended. */
async function paused(t: Test, reply: Reply) {
  const { client } = await pair(t, reply);
  const heard: string[] = [];
  let call: Call | undefined;
  let pauseAt = 0;
  const listener = {
    onResponse: () => t.fail('it is a stream'),
    onEvent: ({ event, data }: { event: string; data: unknown }) => {
      heard.push(event === 'done' ? event : JSON.stringify(data));
      if (heard.length > pauseAt) call?.pause();
      look();
    },
    onError: () => {
      heard.push('error');
      look();
    },
  };
  let look = (): void => {};
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      look = () => condition() && resolve();
      look();
    });
  const params = { initialMessage: HELLO, stream: true };
  call = client.call({ method: 'chat.start', targetAgent: 'support', params }, listener);
  const resume = (until = Number.POSITIVE_INFINITY): void => {
    pauseAt = until;
    call?.resume();
  };
  await until(() => heard.length > 0);
  for (let turns = 0; turns < 10; turns++) await turn();
  return { until, heard, resume };
}

const sent = Array.from({ length: COUNT }, (_, at) => JSON.stringify(piece(`${at}`)));

t.test('a reader that stops within a chunk gets few more events of it, and later all in order [F-508]', async (t) => {
  const { until, heard, resume } = await paused(t, STREAM_HEAD + chunk(MANY + DONE) + LAST_CHUNK);
  t.ok(heard.length < 500, `${heard.length}`);
  resume(heard.length + 10);
  const before = heard.length;
  await until(() => heard.length > before);
  t.ok(heard.length < 1000, 'it has stopped once more');
  resume();
  await until(() => heard.length === COUNT + 1);
  t.strictSame(heard, [...sent, 'done']);
});

t.test('what came before the connection was lost is passed on before the error [F-508]', async (t) => {
  const { until, heard, resume } = await paused(t, (socket) => socket.end(STREAM_HEAD + chunk(MANY)));
  resume();
  await until(() => heard.includes('error'));
  t.strictSame(heard, [...sent, 'error']);
});
