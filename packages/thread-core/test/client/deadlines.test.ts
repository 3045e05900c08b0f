// The time-outs of all calls, which one timer looks after.
import t, { type Test } from 'tap';
import { Deadlines, type Timed } from '../../src/client/deadlines.js';

/** Items that tell when their time is over. */
function items(t: Test) {
  const deadlines = new Deadlines<Timed & { deadline: number }>();
  t.teardown(() => deadlines.stop());
  const told: string[] = [];
  const early: string[] = [];
  let heard = (): void => {};
  const add = (name: string, delay: number, throws = false) => {
    const item = {
      index: -1,
      deadline: performance.now() + delay,
      timeOut(): void {
        told.push(name);
        // Timers may be early by a part of a millisecond.
        if (performance.now() < item.deadline - 1) early.push(name);
        deadlines.delete(item);
        heard();
        if (throws) throw new Error('a listener of the application');
      },
    };
    deadlines.add(item);
    deadlines.note(item.deadline);
    return item;
  };
  const until = async (count: number): Promise<void> => {
    while (told.length < count) await new Promise<void>((resolve) => (heard = resolve));
  };
  return { deadlines, told, early, add, until };
}

/** Timers that keep this process alive. */
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

t.test('each hears when its own time is over, whatever the order in which they came and changed', async (t) => {
  const { deadlines, told, early, add, until } = items(t);
  add('last', 120);
  add('second', 60);
  add('first', 20);
  const moved = add('moved back', 20);
  moved.deadline += 70;
  deadlines.note(moved.deadline);
  const paused = add('paused', 20);
  paused.deadline = Number.POSITIVE_INFINITY;
  const gone = add('gone', 20);
  deadlines.delete(gone);
  deadlines.delete(gone);
  await until(4);
  // On a busy machine one sweep may find several, in any order.
  t.strictSame([...told].sort(), ['first', 'last', 'moved back', 'second']);
  t.strictSame(deadlines.all(), [paused]);
  paused.deadline = performance.now() + 10;
  deadlines.note(paused.deadline);
  await until(5);
  t.strictSame(early, []);
});

t.test('the timer keeps the process alive only while something is under way', async (t) => {
  const before = timers();
  const { deadlines, add } = items(t);
  const item = add('a', 60_000);
  t.equal(timers(), before + 1);
  deadlines.delete(item);
  t.equal(timers(), before);
  const [one, two] = [add('b', 90_000), add('c', 30_000)];
  t.equal(timers(), before + 1, 'one for both');
  deadlines.delete(one);
  deadlines.delete(two);
  t.equal(timers(), before);
});

t.test('if one item throws, the others still time out', async (t) => {
  const looks: (() => void)[] = [];
  t.capture(globalThis, 'setTimeout', (look: () => void) => {
    looks.push(look);
  });
  const { told, add } = items(t);
  add('throws', -1, true);
  add('another', -1);
  t.throws(looks[0] as () => void, { message: 'a listener of the application' });
  t.strictSame(told, ['throws']);
  looks[1]?.();
  t.strictSame(told, ['throws', 'another']);
});
