import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { LeaseClock } from '../../../src/relay/cluster/lease-clock.js';

/**
 * Both clocks stand still, except for what they are moved by, in milliseconds. They start at whole numbers: a sum with
 * the fractions of the real monotonic clock is rounded, and a test of equality fails now and then.
 */
const stopClocks = (t: Test) => {
  const moment = { monotonic: 1_000_000, wall: 1_800_000_000_000 };
  const clocks = [mock.method(Date, 'now', () => moment.wall), mock.method(performance, 'now', () => moment.monotonic)];
  t.teardown(() => {
    for (const clock of clocks) clock.mock.restore();
  });
  return (by: { monotonic: number; wall: number }): void => {
    moment.monotonic += by.monotonic;
    moment.wall += by.wall;
  };
};

t.test('a lease that was never renewed is infinitely old', async (t) => {
  const clock = new LeaseClock();
  t.equal(clock.age, Number.POSITIVE_INFINITY);
  t.equal(clock.wallAge, Number.POSITIVE_INFINITY);
});

t.test('a wall clock that is set back does not make a lease younger', async (t) => {
  const move = stopClocks(t);
  const clock = new LeaseClock();
  clock.set(clock.now());
  move({ monotonic: 5000, wall: -60_000 });
  t.equal(clock.age, 5000);
});

t.test('a machine that was suspended, whose monotonic clock stood still, has an old lease', async (t) => {
  const move = stopClocks(t);
  const clock = new LeaseClock();
  clock.set(clock.now());
  move({ monotonic: 10, wall: 60_000 });
  t.equal(clock.age, 60_000);
  t.equal(clock.wallAge, 60_000);
});
