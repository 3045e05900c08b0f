import t from 'tap';
import { watchPage } from '../src/page.js';

t.test('the network is used as soon as it is back, and a page that is hidden waits for nothing else', async (t) => {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { hidden: true });
  for (const [name, value] of Object.entries({ window, document })) {
    Object.defineProperty(globalThis, name, { configurable: true, value });
    t.teardown(() => Reflect.deleteProperty(globalThis, name));
  }
  const controller = new AbortController();
  const checks: string[] = [];
  let type = '';
  watchPage(() => checks.push(type), controller);
  const all = { online: window, pageshow: window, visibilitychange: document, resume: document };
  const dispatch = (): void => {
    for (const [name, target] of Object.entries(all)) {
      type = name;
      target.dispatchEvent(new Event(name));
    }
  };
  dispatch();
  t.strictSame(checks.splice(0), ['online', 'pageshow'], 'while it is hidden');
  document.hidden = false;
  dispatch();
  t.strictSame(checks.splice(0), Object.keys(all), 'while it is visible');
  controller.abort();
  dispatch();
  t.strictSame(checks, [], 'once the client is closed');
});
