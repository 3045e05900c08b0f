import { tracingChannel } from 'node:diagnostics_channel';
import t, { type Test } from 'tap';
import type { SendContext } from '../../src/index.js';
import { dispatch, reached, say, setUp } from './helpers.js';

/** Subscribes to the channel for one test. */
function trace(t: Test) {
  const seen: [string, SendContext][] = [];
  const record = (name: string) => (context: unknown) => void seen.push([name, { ...(context as SendContext) }]);
  const subscribers = {
    start: record('start'),
    end: record('end'),
    asyncStart: record('asyncStart'),
    asyncEnd: record('asyncEnd'),
    error: record('error'),
  };
  const channel = tracingChannel('arc.send');
  channel.subscribe(subscribers);
  t.teardown(() => channel.unsubscribe(subscribers));
  return seen;
}

t.test('each send is published on the tracing channel arc.send, with its chat, and how it ended [T-63]', async (t) => {
  const seen = trace(t);
  const { agent, threads } = await setUp(t);
  const names = (): string[] =>
    seen.splice(0).map(([name, { state }]) => (state === undefined ? name : `${name} ${state}`));
  await dispatch(threads, { traceId: 'tr', contextId: 'c' }).listener.ended;
  const last = { agentId: 'support', contextId: 'c', traceId: 'tr', stream: false, restarted: false };
  t.match(seen.at(-1), ['asyncEnd', { ...last, chatId: threads.getThreadId('support', 'c') }]);
  t.ok((seen.at(-1)?.[1].bytes ?? 0) > 100, 'the bytes of the answer');
  t.strictSame(names(), ['start', 'end', 'asyncStart response', 'asyncEnd response']);

  await dispatch(threads, { stream: true }).listener.ended;
  t.match(seen.at(-1), ['asyncEnd', { stream: true, contextId: undefined }]);
  t.strictSame(names(), ['start', 'end', 'asyncStart done', 'asyncEnd done']);

  agent.script('chat.message', { error: { code: -50_007 } });
  await dispatch(threads).listener.ended;
  t.match(seen.at(-1), ['asyncEnd', { error: { code: -50_007 } }]);
  t.strictSame(names(), ['start', 'end', 'error error', 'asyncStart error', 'asyncEnd error']);

  const gate = agent.hold('chat.message');
  const { send, listener } = dispatch(threads);
  await gate.arrived;
  send.cancel();
  await listener.ended;
  gate.release();
  t.strictSame(names(), ['start', 'end', 'asyncStart cancelled', 'asyncEnd cancelled']);

  agent.forget();
  await dispatch(threads).listener.ended;
  t.match(seen.at(-1), ['asyncEnd', { restarted: true, chatId: threads.getThreadId('support') }]);
});

t.test('a send that a busy thread rejects is published as failed', async (t) => {
  const seen = trace(t);
  const { agent, threads } = await setUp(t, { busy: 'reject' });
  const gate = agent.hold('chat.start');
  dispatch(threads);
  await reached(agent, 'chat.start');
  seen.length = 0;
  await dispatch(threads, { message: say('again') }).listener.ended;
  t.match(
    seen.map(([name, { error }]) => [name, (error as { code?: number } | undefined)?.code]),
    [['start'], ['end'], ['error', -50_001], ['asyncStart', -50_001], ['asyncEnd', -50_001]],
  );
  gate.release();
});

t.test('a send that leaves its thread before it began, to be sent elsewhere, ends here [S-70]', async (t) => {
  const seen = trace(t);
  const { agent, threads } = await setUp(t);
  const gate = agent.hold('chat.start');
  const { listener } = dispatch(threads);
  await gate.arrived;
  dispatch(threads, { message: say('queued') });
  t.equal(threads.takeWaiting().length, 1);
  t.match(seen.at(-1), ['asyncEnd', { state: 'cancelled' }]);
  gate.release();
  await listener.ended;
  const count = (event: string): number => seen.filter(([name]) => name === event).length;
  t.strictSame([count('start'), count('asyncEnd')], [2, 2]);
});
