// A page that does nothing for a while, as on a phone in a pocket. What comes for it waits in the system.
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { WebSocket } from 'ws';
import { createWorld, failure, state } from './world.js';

t.test('a page that was frozen during a long answer connects again after 1008 [F-541]', async (t) => {
  const sockets: WebSocket[] = [];
  class Recorded extends WebSocket {
    constructor(...args: ConstructorParameters<typeof WebSocket>) {
      super(...args);
      sockets.push(this);
    }
  }
  const { agent, client } = await createWorld(t, { resume: { maxBufferedBytes: 100_000 }, stalledTimeout: 300 });
  const one = client({ WebSocket: Recorded });
  await state(one, 'open');
  agent.script('chat.start', async function* () {
    for (let n = 0; n < 40; n++) yield 'x'.repeat(50_000);
  });
  const turn = one.send('support', 'much', { stream: true });
  await turn[Symbol.asyncIterator]().next();
  sockets[0]?.pause();
  await setTimeout(1_200);
  sockets[0]?.resume();
  t.match(await state(one, 'waiting'), { code: 1008 });
  t.match(await failure(turn.result), { name: 'InterruptedError' });
  t.equal(await one.send('support', 'next').text(), 'support #1: next');
});
