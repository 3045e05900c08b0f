// The WebSocket of Node 22, as far as it differs from all others. That of a newer Node does not.
import t from 'tap';
import { WebSocket } from 'ws';
import { createWorld, state } from './world.js';

/** If it cannot connect there is an `error`, and no `close`; meanwhile it says that it connects. */
class Node22WebSocket extends WebSocket {
  #isOpen = false;

  // Node's own has no such method.
  override terminate = undefined as never;

  constructor(...args: ConstructorParameters<typeof WebSocket>) {
    super(...args);
    const get = () => (this.#isOpen ? Reflect.get(WebSocket.prototype, 'readyState', this) : WebSocket.CONNECTING);
    Object.defineProperty(this, 'readyState', { get });
  }

  override close(code?: number): void {
    if (this.#isOpen) super.close(code);
    else this.emit('error', new Error('Connection was closed before it was established.'));
  }

  override emit(name: string | symbol, ...args: unknown[]): boolean {
    if (name === 'open') this.#isOpen = true;
    return (name !== 'close' || this.#isOpen) && super.emit(name, ...args);
  }
}

t.test('an attempt that fails without a close event is followed by the next one in time [F-538]', async (t) => {
  const { client, proxy } = await createWorld(t, { resume: true });
  const one = client({ WebSocket: Node22WebSocket });
  await one.send('support', 'one').result;
  const states: string[] = [];
  one.on('state', ({ status }) => states.push(status));
  proxy.refuses = true;
  proxy.cut();
  const turn = one.send('support', 'two', { signal: AbortSignal.timeout(8_000) });
  while (states.length < 7 && !turn.settled) await new Promise((resolve) => one.on('state', resolve));
  proxy.refuses = false;
  t.equal(await turn.text(), 'support #2: two');
  t.match(await state(one, 'open'), { resumed: true });
  t.strictSame(states.slice(0, 5), ['waiting', 'resuming', 'waiting', 'resuming', 'waiting']);
});
