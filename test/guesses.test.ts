import { Client, type Frame, textOf, to } from '@arc/test-client';
import { startTestAgent } from '@arc/thread-core/testing';
import t from 'tap';
import { RelayProcess } from './faults/child.js';
import { Guesser } from './guesses.js';

/** With GUESSES=10000 it prints how long ten thousand took. To open so many connections before takes some seconds. */
const GUESSES = Number(process.env.GUESSES ?? 1000);

t.test('guessing secrets opens nothing, however often, and the owner is not disturbed [F-431]', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const relay = await RelayProcess.start(agent.endpoint, { resume: true, maxSessions: GUESSES + 10 });
  t.teardown(() => relay.kill());
  const owner = await Client.open(relay.url);
  owner.send({ type: 'resume' });
  const { session } = (await owner.next()) as Frame & { session: string };
  let id = 0;
  const ask = async (): Promise<void> => {
    const answer = await owner.ask(to('a', 'x', { id: ++id }));
    t.match({ ...answer, text: textOf(answer) }, { type: 'response', id, seq: id, text: `a #${id}: x` });
  };
  await ask();

  const guesser = new Guesser(relay.url);
  t.teardown(() => guesser.close());
  await guesser.open(GUESSES);
  let isOver = false;
  const guessing = guesser.guess(session.split('.')[0] as string).finally(() => {
    isOver = true;
  });
  do {
    await ask();
    owner.send({ type: 'ack', seq: id });
  } while (!isOver);
  const { answers, ms } = await guessing;

  const refused = answers.filter((text) => text.includes('"resumed":false') && text.includes('"reason":"unknown"'));
  t.equal(refused.length, GUESSES);
  if (GUESSES > 1000) console.error(`${GUESSES} guesses were refused in ${Math.round(ms)} ms`);
  guesser.close();
  owner.socket.terminate();
  const again = await Client.open(relay.url);
  t.teardown(() => again.socket.terminate());
  again.send({ type: 'resume', session, seq: id, sent: id });
  t.match(await again.next(), { type: 'ready', resumed: true, got: id });
  t.match(await relay.report(), { sessions: 1, threads: 1, errors: [] });
});
