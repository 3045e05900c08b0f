// A proxy that drops every connection on which a certain message comes, as one that is too large for it.
import t, { type Test } from 'tap';
import { StrictProxy } from './strict-proxy.js';
import { createWorld, failure, state } from './world.js';

const SIZE = 5_000;

async function strict(t: Test) {
  const world = await createWorld(t, { resume: true });
  const proxy = await StrictProxy.start(world.proxy.url, (text) => text.length <= SIZE);
  t.teardown(() => proxy.close());
  return { ...world, proxy, one: world.client({ url: proxy.url }) };
}

/** The connection on which a message was first sent counts if the message waited for it. */
function dropped(t: Test, { drops }: StrictProxy): void {
  t.ok(drops === 10 || drops === 11, `${drops} connections were dropped`);
}

const messages = (requests: readonly { body: string }[]): unknown[] =>
  requests.map(({ body }) => /"content":"([a-z]{1,10})/.exec(body)?.[1]);

t.test('a message that a proxy drops the connection for fails, and those behind it are answered', async (t) => {
  const { agent, one, proxy } = await strict(t);
  one.on('lost', () => t.fail('nothing was lost'));
  one.on('interrupted', () => t.fail('nothing was interrupted'));
  await one.send('support', 'before').result;
  const large = one.send('support', 'x'.repeat(SIZE));
  const behind = one.send('support', 'behind');
  t.match(await failure(large.result), { name: 'LimitError', code: 'UNSENT' });
  dropped(t, proxy);
  t.equal(await behind.text(), 'support #2: behind', 'in the same chat');
  t.equal(await one.send('support', 'next').text(), 'support #3: next');
  dropped(t, proxy);
  t.strictSame(messages(agent.requests), ['before', 'behind', 'next']);
});

t.test('the same holds for the first message of a client, of which the relay keeps nothing', async (t) => {
  const { agent, one, proxy } = await strict(t);
  one.on('lost', () => t.fail('nothing was lost'));
  const large = one.send('support', 'x'.repeat(SIZE));
  const behind = one.send('support', 'behind');
  t.match(await failure(large.result), { code: 'UNSENT' });
  dropped(t, proxy);
  t.equal(await behind.text(), 'support #1: behind');
  t.strictSame(messages(agent.requests), ['behind']);
});

t.test('an end with a reason that is too large fails, and the thread is there', async (t) => {
  const { one } = await strict(t);
  await one.send('support', 'before').result;
  t.match(await failure(one.end('support', { reason: 'x'.repeat(SIZE) })), { code: 'UNSENT' });
  t.strictSame(one.threads(), [{ agentId: 'support', contextId: undefined }]);
  t.equal(await one.send('support', 'next').text(), 'support #2: next');
});

t.test('a message that is cancelled meanwhile does not hold up those behind it', async (t) => {
  const { agent, one, proxy } = await strict(t);
  await one.send('support', 'before').result;
  const large = one.send('support', 'x'.repeat(SIZE));
  const behind = one.send('support', 'behind');
  await state(one, 'waiting');
  large.cancel();
  t.match(await failure(large.result), { code: 'CANCELLED' });
  t.equal(await behind.text(), 'support #2: behind');
  t.equal(proxy.drops, 1, 'it is not sent again');
  t.strictSame(messages(agent.requests), ['before', 'behind']);
});
