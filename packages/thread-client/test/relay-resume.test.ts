// Resuming with the real relay, through a proxy that loses the connections.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { createThreadClient } from '../src/index.js';
import { createWorld, FAST, failure, state, until } from './world.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const EVENTS = 2_000;

t.test('a stream of 2,000 events that is cut at random bytes arrives once and in order, in one session', async (t) => {
  const { agent, client, proxy, relay } = await createWorld(t, { resume: true });
  const words = Array.from({ length: EVENTS }, (_, n) => `${n} `);
  const one = client();
  await one.send('support', 'Hello').result;
  agent.script('chat.message', async function* () {
    yield* words;
  });
  let cuts = 60;
  proxy.cutAfter = () => (cuts-- > 0 ? 400 + Math.floor(Math.random() * 10_000) : Number.POSITIVE_INFINITY);
  proxy.cut();
  const turn = one.send('support', 'Hello', { stream: true });
  const texts: string[] = [];
  for await (const { text } of turn) texts.push(text);
  t.strictSame(texts, words);
  t.ok(proxy.accepted > 20, `${proxy.accepted} connections`);
  t.equal(agent.counters.requests, 2, 'the message reached the agent once');
  t.match(one.state, { status: 'open', resumable: true, resumed: true });
  await one.close();
  await agent.waitFor('idle');
  await until(() => relay.stats().sessions === 0);
});

t.test('a stream whose connection is cut after every single frame arrives once and in order', async (t) => {
  const { agent, client, proxy } = await createWorld(t, { resume: true });
  const one = client();
  await one.send('support', 'Hello').result;
  const words = Array.from({ length: EVENTS }, (_, n) => `${n} `);
  let next = (): void => {};
  agent.script('chat.message', async function* () {
    for (const word of words) {
      const asked = new Promise<void>((resolve) => {
        next = resolve;
      });
      yield word;
      await asked;
    }
  });
  const texts: string[] = [];
  for await (const { text } of one.send('support', 'Hello', { stream: true })) {
    texts.push(text);
    proxy.cut();
    next();
  }
  t.strictSame(texts, words);
  t.ok(proxy.accepted > words.length, `${proxy.accepted} connections`);
  t.equal(agent.counters.requests, 2, 'the message reached the agent once');
  await one.close();
  await agent.waitFor('idle');
});

t.test('sends, ends and cancels that are cut off anywhere are handled once', async (t) => {
  const { agent, client, proxy } = await createWorld(t, { resume: true });
  const one = client();
  await one.send('support', 'Hello').result;
  for (let round = 0; round < 20; round++) {
    const context = { contextId: `c${round % 4}` };
    const answered = one.send('support', `round ${round}`, { stream: true, ...context });
    if (round % 2 === 0) proxy.cut();
    t.match(await answered.text(), new RegExp(`round ${round}$`));
    const cancelled = one.send('support', 'never mind', { stream: true, ...context });
    if (round % 3 === 0) proxy.cut();
    cancelled.cancel();
    await failure(cancelled.result).catch(() => {});
    if (round % 5 === 0) proxy.cut();
    if (round % 4 === 3) await one.end('support', context);
  }
  const rounds = agent.requests.map(({ body }) => /round \d+/.exec(body)?.[0]).filter((text) => text !== undefined);
  t.equal(new Set(rounds).size, rounds.length, 'no message reached the agent twice');
  t.equal(rounds.length, 20);
  await one.close();
  await agent.waitFor('idle');
});

t.test('wake() replaces a silent connection, and the answer continues', async (t) => {
  const { agent, client, proxy } = await createWorld(t, { resume: true });
  const one = client();
  const gate = agent.hold();
  const turn = one.send('support', 'Hello', { stream: true });
  await gate.arrived;
  proxy.silence();
  one.wake();
  gate.release();
  t.equal(await turn.text(), 'support #1: Hello');
  t.match(one.state, { resumed: true });
});

t.test('the first message, sent into a connection that is lost already, reaches the agent once [F-430]', async (t) => {
  const { agent, client, proxy, relay } = await createWorld(t, { resume: true });
  const one = client();
  one.on('lost', () => t.fail('nothing was lost'));
  await state(one, 'open');
  proxy.silence();
  const turns = ['a', 'b'].map((text) => one.send('support', text));
  proxy.cut();
  t.strictSame(await Promise.all(turns.map((turn) => turn.text())), ['support #1: a', 'support #2: b']);
  t.strictSame(
    turns.map(({ restarted }) => restarted),
    [false, false],
  );
  t.equal(agent.counters.requests, 2);
  t.equal(relay.stats().resumed, 0, 'the relay had kept nothing');
});

t.test(
  'when a session expires, messages that never arrived are sent again, and the others are lost [F-430] [F-435]',
  async (t) => {
    const { agent, client, proxy, relay } = await createWorld(t, { resume: { grace: 50 } });
    const one = client({ backoff: { min: 60_000, max: 60_000 } });
    await one.send('support', 'Hello').result;
    const gate = agent.hold();
    const arrived = one.send('support', 'arrives', { stream: true });
    await gate.arrived;
    proxy.silence();
    const unsent = one.send('support', 'never arrives');
    proxy.cut();
    gate.release();
    await until(() => relay.stats().sessions === 0);
    one.wake();
    t.match(await failure(arrived.result), { code: 'SESSION_LOST', reason: 'expired', mayHaveReached: true });
    t.equal(await unsent.text(), 'support #1: never arrives');
    t.equal(unsent.restarted, true);
    t.equal(agent.requests.filter(({ body }) => body.includes('never arrives')).length, 1);
  },
);

t.test('a message that is too large for the relay fails, and those behind it are answered [F-400]', async (t) => {
  const { agent, client } = await createWorld(t, { resume: true, maxFrameBytes: 1000 });
  const one = client();
  await one.send('support', 'Hello').result;
  const large = one.send('support', 'x'.repeat(1000));
  const behind = one.send('support', 'behind');
  t.match(await failure(large.result), { code: 'SESSION_LOST', reason: 'expired' });
  t.equal(await behind.text(), 'support #1: behind');
  t.equal(behind.restarted, true);
  t.equal(await one.send('support', 'next').text(), 'support #2: next');
  t.equal(agent.counters.requests, 4, 'three messages, and the end of the first chat');
});

t.test('a session that has expired is lost, and says so', async (t) => {
  const { agent, client, proxy, relay } = await createWorld(t, { resume: { grace: 50 } });
  const one = client();
  const turn = one.send('support', 'Hello');
  await turn.result;
  const lost = new Promise<unknown>((resolve) => {
    one.on('lost', resolve);
  });
  proxy.refuses = true;
  proxy.cut();
  await agent.waitFor('idle');
  await until(() => relay.stats().sessions === 0);
  proxy.refuses = false;
  one.wake();
  t.match(await lost, { code: 'SESSION_LOST', reason: /expired|unknown/ });
  const next = one.send('support', 'again');
  t.equal(await next.text(), 'support #1: again');
  t.equal(next.restarted, true);
});

t.test('50 clients and 1,000 cuts at once: every answer arrives, and nothing is left', async (t) => {
  const { agent, proxy, relay } = await createWorld(t, { resume: true });
  const storm = async (): Promise<void> => {
    // Not those of the world, which are kept until the test ends.
    const clients = Array.from({ length: 50 }, () => createThreadClient({ ...FAST, url: proxy.url }));
    let cuts = 0;
    let done = false;
    await Promise.all(clients.map((one) => one.send('support', 'Hello').result));
    const cutting = (async () => {
      while (!done && cuts < 1_000) {
        await until(() => proxy.open > 25 || done);
        cuts += proxy.open;
        proxy.cut();
      }
    })();
    await Promise.all(
      clients.map(async (one, index) => {
        for (let round = 0; round < 4 || cuts < 1_000; round++) {
          const text = await one.send(`agent-${index}`, `say ${round}`, { stream: true }).text();
          if (text !== `agent-${index} #${round + 1}: say ${round}`) t.fail(text);
        }
      }),
    );
    done = true;
    await cutting;
    t.ok(cuts >= 1_000, `${cuts} cuts`);
    await Promise.all(clients.map((one) => one.close()));
    await agent.waitFor('idle', { timeout: 20_000 });
    await until(() => relay.stats().sessions === 0);
    t.equal(agent.counters.open, 0);
    await until(() => proxy.open === 0);
    t.match(relay.stats(), { detached: 0, journalBytes: 0 });
  };
  const heapAfter = async (): Promise<number> => {
    await storm();
    agent.requests.length = 0;
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  // Of each storm the agent keeps its chats, which come to 300 bytes a cut. A connection that stays is 700 bytes more.
  const before = await heapAfter();
  const storms = 4;
  let after = before;
  for (let round = 0; round < storms; round++) after = await heapAfter();
  const left = (after - before) / (storms * 1_000);
  t.ok(left < 600, `${left.toFixed(0)} bytes a cut`);
});
