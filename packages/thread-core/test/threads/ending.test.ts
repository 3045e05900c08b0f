import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { withDeadline } from '@arc/test-client';
import t from 'tap';
import { ArcClient, ThreadManager } from '../../src/index.js';
import { type Answer, faults, startTestAgent } from '../../src/testing/index.js';
import { dispatch, methods, reached, requestsOf, saidIn, say, settled, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

t.test('20 chats are ended side by side [T-11]', async (t) => {
  const { agent, threads } = await setUp(t);
  const agents = Array.from({ length: 20 }, (_, index) => `agent-${index}`);
  await Promise.all(agents.map((agentId) => threads.sendToAgent({ ...hello, agentId })));
  const gate = agent.hold('chat.end');
  const ending = threads.endAllChats();
  // None is answered before all have come.
  await agent.waitFor(({ counters }) => counters.running === 20);
  gate.release();
  const outcomes = await ending;
  t.strictSame(
    outcomes.map(({ agentId, ok }) => [agentId, ok]),
    agents.map((agentId) => [agentId, true]),
  );
  t.equal(agent.counters.open, 0);
});

const PASSING: Record<string, Answer> = {
  'a reset': faults.reset(),
  'a closed connection': faults.cut(0),
  '502': faults.html(502),
  '-32603': { error: { code: -32_603 } },
  '-44007': { error: { code: -44_007 } },
  '-41002': { error: { code: -41_002 } },
  '-41006': { error: { code: -41_006 } },
};

for (const [name, answer] of Object.entries(PASSING)) {
  t.test(`chat.end is repeated after ${name} [T-15]`, async (t) => {
    const { agent, threads, log, ended } = await setUp(t);
    await threads.sendToAgent(hello);
    agent.script('chat.end', answer);
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.strictSame(methods(agent), ['chat.start', 'chat.end', 'chat.end']);
    t.equal(agent.counters.open, 0);
    t.strictSame([log.length, ended.length], [0, 1], 'one outcome, and nothing to log');
  });
}

t.test('chat.end is repeated after several failures in a row', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  agent.script('chat.end', faults.reset(), faults.html(502), { error: { code: -32_603 } });
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.equal(requestsOf(agent, 'chat.end').length, 4);
});

t.test('a chat.end without an answer leaves time for another attempt', async (t) => {
  const { agent, threads } = await setUp(t, { cleanupTimeout: 1000 });
  await threads.sendToAgent(hello);
  agent.script('chat.end', faults.hang());
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.equal(requestsOf(agent, 'chat.end').length, 2);
});

t.test(
  'a chat that cannot be ended is reported as failed within the time-out, counted and logged [F-147] [T-12] [T-16]',
  async (t) => {
    for (const answer of [faults.html(502), faults.reset(), faults.hang(), faults.stall()]) {
      const { agent, threads, log, ended } = await setUp(t, { cleanupTimeout: 300 });
      await threads.sendToAgent({ ...hello, contextId: 'c' });
      const chatId = threads.getThreadId('support', 'c');
      agent.script('chat.end', { ...answer, times: Number.POSITIVE_INFINITY });
      const begun = performance.now();
      const outcomes = await threads.endAllChats();
      const taken = performance.now() - begun;
      t.ok(taken < 5000, `long before the default bound: ${taken}`);
      const about = { agentId: 'support', contextId: 'c', chatId };
      t.match(outcomes, [{ ...about, ok: false, error: { code: /^-(4100[36]|43104)$/ } }]);
      t.match(log, [{ about: { ...about, err: outcomes[0]?.error }, message: /could not be ended/ }]);
      t.match(ended, [{ ...about, ok: false }]);
      if (!('after' in answer && answer.finish === 'stall')) t.ok(requestsOf(agent, 'chat.end').length > 1);
      t.equal(threads.threadCount, 0, 'the thread is still forgotten');
    }
  },
);

t.test('a chat.end that is answered by a stream without an end fails within the time-out [T-12]', async (t) => {
  const timers: NodeJS.Timeout[] = [];
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    timers.push(setInterval(() => response.write(': still here\n\n'), 20));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new ArcClient({ endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  t.teardown(async () => {
    await client.close();
    for (const timer of timers) clearInterval(timer);
    server.closeAllConnections();
    server.close();
  });
  const threads = new ThreadManager(client, { cleanupTimeout: 500 });
  threads.storeThreadId('support', 'c');
  t.match(await withDeadline(threads.endAllChats(), 'the end'), [{ ok: false, error: { code: /^-(43104|41006)$/ } }]);
});

t.test('endAllChats takes a time-out of its own', async (t) => {
  const { agent, threads } = await setUp(t, { cleanupTimeout: 60_000 });
  await threads.sendToAgent(hello);
  agent.script('chat.end', { ...faults.hang(), times: Number.POSITIVE_INFINITY });
  t.match(await threads.endAllChats({ timeout: 50 }), [{ ok: false, error: { code: -41_006 } }]);
  t.match(await threads.endAllChats({ timeout: 0 }), []);
});

t.test('a time-out of 0 still sends chat.end', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const gate = agent.hold('chat.end');
  t.match(await threads.endAllChats({ timeout: 0 }), [{ ok: false }]);
  t.ok(requestsOf(agent, 'chat.end').length <= 1);
  gate.release();
});

t.test('a chat.end that the agent refuses for good is not repeated', async (t) => {
  for (const code of [-44_001, -44_002, -32_602, -50_007]) {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(hello);
    agent.script('chat.end', { error: { code }, times: 9 });
    t.match(await threads.endAllChats(), [{ ok: false, error: { code } }]);
    t.equal(requestsOf(agent, 'chat.end').length, 1);
  }
});

t.test('a chat that the agent has lost counts as ended', async (t) => {
  for (const code of [-43_001, -43_002, -43_003, -42_005]) {
    for (const status of [200, 404, 500]) {
      const { agent, threads, log } = await setUp(t, { agent: { lostChat: { code, status } } });
      await threads.sendToAgent(hello);
      agent.forget();
      const outcomes = await threads.endAllChats();
      t.match(outcomes, [{ agentId: 'support', ok: true }]);
      t.strictSame([outcomes[0]?.error, outcomes[0]?.response], [undefined, undefined]);
      t.equal(requestsOf(agent, 'chat.end').length, 1);
      t.strictSame(log, []);
      await threads.sendToAgent(hello);
      agent.forget();
      t.equal(await threads.endChat('support'), undefined);
    }
  }
});

t.test('an agent may answer chat.end with {success: true}', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const body = JSON.stringify({ arc: '1.0', id: 1, responseAgent: 'a', targetAgent: 'b', result: { success: true } });
  agent.script('chat.end', { status: 200, body });
  t.match((await threads.endChat('support'))?.result, { success: true });
});

t.test('endChat cancels running and waiting sends in their order, and forgets the thread at once', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const chatId = threads.getThreadId('support');
  const gate = agent.hold('chat.message');
  const order: number[] = [];
  const sends = [0, 1, 2, 3].map((index) => {
    const { listener } = dispatch(threads);
    return listener.ended.then((how) => {
      order.push(index);
      return how;
    });
  });
  await gate.arrived;
  const ends = agent.hold('chat.end');
  const ending = threads.endChat('support');
  t.equal(threads.hasThread('support'), false);
  t.strictSame(await Promise.all(sends), Array(4).fill('cancelled'));
  t.strictSame(order, [0, 1, 2, 3]);
  await agent.waitFor(({ counters }) => counters.aborted === 1);
  await ends.arrived;
  const next = await threads.sendToAgent(hello);
  t.equal(saidIn(next), 'support #1: hello', 'the next send starts a new chat, while the old one is being ended');
  t.not(threads.getThreadId('support'), chatId);
  ends.release();
  t.match((await ending)?.result, { chat: { chatId, status: 'CLOSED' } });
  t.equal(threads.hasThread('support'), true, 'the end of the old chat leaves the new one alone');
  t.equal(requestsOf(agent, 'chat.message').length, 1, 'what waited never reached the agent');
});

t.test('a send that is made while others are cancelled starts a new chat', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const chatId = threads.getThreadId('support');
  agent.hold('chat.message');
  const again = settled(threads.sendToAgent(hello)).then(() => threads.sendToAgent(hello));
  const second = dispatch(threads);
  await reached(agent, 'chat.message');
  await threads.endChat('support');
  t.not((await again).result.chat.chatId, chatId);
  t.equal(await second.listener.ended, 'cancelled');
  t.strictSame(methods(agent).sort(), ['chat.end', 'chat.message', 'chat.start', 'chat.start']);
});

t.test('endChat leaves the agent’s other contexts, and other agents, alone', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const gate = agent.hold('chat.start');
  const other = threads.sendToAgent({ ...hello, contextId: 'other' });
  const another = threads.sendToAgent({ ...hello, agentId: 'another' });
  await reached(agent, 'chat.start', 3);
  await threads.endChat('support');
  gate.release();
  t.equal(saidIn(await other), 'support #1: hello');
  t.equal(saidIn(await another), 'another #1: hello');
});

t.test('endChat rejects if the agent cannot be reached, and the thread is forgotten', async (t) => {
  const { agent, threads, log } = await setUp(t, { cleanupTimeout: 200 });
  await threads.sendToAgent(hello);
  agent.script('chat.end', { ...faults.html(503), times: Number.POSITIVE_INFINITY });
  await t.rejects(threads.endChat('support'), { code: -41_003, status: 503 });
  t.equal(threads.hasThread('support'), false);
  t.equal(log.length, 1);
  const gone = await setUp(t, { cleanupTimeout: 200 });
  await gone.threads.sendToAgent(hello);
  await gone.agent.close();
  await t.rejects(gone.threads.endChat('support'), { code: -41_003 });
});

t.test('endChat waits for a chat.start in flight', async (t) => {
  const { agent, threads } = await setUp(t, { agent: { createChat: 'when-ready' } });
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent(hello));
  await gate.arrived;
  const ending = threads.endChat('support', { reason: 'never mind' });
  gate.release();
  t.match((await ending)?.result, { chat: { status: 'CLOSED', reason: 'never mind' } });
  t.match((await sent).error, { name: 'AbortError' });
});

t.test('endAllChats can be called twice: both calls wait for the chats, and each chat is ended once', async (t) => {
  const { agent, threads, ended } = await setUp(t);
  for (const agentId of ['a', 'b', 'c']) await threads.sendToAgent({ ...hello, agentId });
  const gate = agent.hold('chat.end');
  const first = threads.endAllChats();
  const second = threads.endAllChats();
  await reached(agent, 'chat.end', 3);
  let isEnded = false;
  void second.then(() => {
    isEnded = true;
  });
  t.equal(agent.counters.ended, 0);
  t.equal(isEnded, false);
  gate.release();
  t.strictSame(await second, []);
  t.equal(agent.counters.open, 0, 'the second one, too, tells when all is ended');
  t.equal((await first).length, 3);
  t.strictSame(await threads.endAllChats(), []);
  t.equal(requestsOf(agent, 'chat.end').length, 3);
  t.equal(ended.length, 3);
});

t.test('a manager can be used again after endAllChats', async (t) => {
  const { agent, threads } = await setUp(t);
  for (let round = 1; round <= 3; round++) {
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello');
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #2: hello');
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.match(agent.counters, { started: round, ended: round, open: 0 });
  }
});

t.test('a send while all chats are being ended belongs to a new chat, which stays open', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const gate = agent.hold('chat.end');
  const ending = threads.endAllChats();
  const answer = threads.sendToAgent(hello);
  await gate.arrived;
  gate.release();
  t.equal(saidIn(await answer), 'support #1: hello');
  await ending;
  t.equal(threads.threadCount, 1);
  t.equal(agent.counters.open, 1);
});

t.test('chat.end is not repeated with a closed client', async (t) => {
  const { agent, client, threads, log } = await setUp(t, { cleanupTimeout: 60_000 });
  await threads.sendToAgent(hello);
  await client.close();
  t.match(await threads.endAllChats(), [{ ok: false, error: { code: -41_003 } }]);
  t.equal(log.length, 1);
  const late = await setUp(t, { cleanupTimeout: 60_000 });
  await late.threads.sendToAgent(hello);
  const gate = late.agent.hold('chat.end');
  const ending = late.threads.endAllChats();
  await gate.arrived;
  await late.client.close();
  t.match(await ending, [{ ok: false, error: { code: -41_003 } }]);
  t.equal(agent.counters.requests + late.agent.counters.requests, 3);
});

t.test('no timer is left that would keep the process alive', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const { agent, client, threads } = await setUp(t, { cleanupTimeout: 2000 });
  await threads.sendToAgent({ ...hello, timeout: 30_000 });
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await stream.next();
  stream.cancel();
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent({ ...hello, agentId: 'other' }));
  await gate.arrived;
  const ending = threads.endAllChats();
  gate.release();
  await Promise.all([ending, sent]);
  await client.close();
  agent.server.closeAllConnections();
  await agent.waitFor(({ counters }) => counters.connections === 0);
  t.ok(timers() <= before, `timers: ${before} before, ${timers()} after`);
});

t.test('no warning is given, however many sends share a signal', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => {
    warnings.push(warning);
  };
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const { threads } = await setUp(t);
  const controller = new AbortController();
  const sends = Array.from({ length: 8 }, () => threads.sendToAgent({ ...hello, signal: controller.signal }));
  await Promise.all(sends);
  await threads.endAllChats();
  await setImmediate();
  t.strictSame(warnings, []);
});

t.test('chat.end is repeated if the token function failed', async (t) => {
  let valid = 'one';
  const agent = await startTestAgent({ token: (token) => token === valid });
  let asked = 0;
  const client = new ArcClient({
    endpoint: agent.endpoint,
    token: () => {
      asked += 1;
      if (asked === 2) throw new Error('the issuer is restarting');
      return valid;
    },
  });
  t.teardown(() => Promise.all([client.close(), agent.close()]));
  const threads = new ThreadManager(client);
  await threads.sendToAgent(hello);
  valid = 'two';
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.strictSame([asked, agent.counters.open], [3, 0]);
});
