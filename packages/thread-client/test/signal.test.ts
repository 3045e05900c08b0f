import { getEventListeners } from 'node:events';
import t from 'tap';
import { createWorld, failure, state } from './world.js';

t.test('a signal closes the client', async (t) => {
  const { client } = await createWorld(t);
  const controller = new AbortController();
  const one = client({ signal: controller.signal });
  await state(one, 'open');
  controller.abort();
  t.equal(one.state.status, 'closed');
  t.equal(client({ signal: controller.signal }).state.status, 'closed');
});

t.test('a closed client leaves no listener on its signal', async (t) => {
  const { client } = await createWorld(t);
  const { signal } = new AbortController();
  const one = client({ signal });
  const two = client({ signal });
  t.equal(getEventListeners(signal, 'abort').length, 2);
  await one.close();
  t.equal(getEventListeners(signal, 'abort').length, 1);
  await two.close();
  t.equal(getEventListeners(signal, 'abort').length, 0);
  const controller = new AbortController();
  controller.abort();
  await client(controller).close();
  t.equal(getEventListeners(controller.signal, 'abort').length, 0);
});

t.test('the cause of a cancelled turn is the reason of its signal, also of one that is aborted already', async (t) => {
  const { client } = await createWorld(t);
  const one = client();
  const reason = new Error('No longer wanted');
  const turn = one.send('support', 'a', { signal: AbortSignal.abort(reason) });
  t.match(await failure(turn.result), { code: 'CANCELLED', cause: reason });
});
