import t from 'tap';
import { isTooDeep } from '../src/json-text.js';

const [OPEN, CLOSE] = ['\x5b', '\x5d'];
const nested = (levels: number): string => OPEN.repeat(levels) + CLOSE.repeat(levels);
const array = (...items: string[]): string => OPEN + items.join() + CLOSE;
/** A JSON string with this between its quotes. */
const quoted = (text: string): string => `"${text}"`;

/** Texts that are not too deep. */
const SHALLOW: Record<string, string> = {
  short: '{"a":1}',
  'as deep as allowed': nested(10_000),
  'many arrays side by side': array(...Array<string>(20_000).fill(nested(1))),
  'deep parts side by side': array(nested(9000), nested(9000)),
  'brackets in a string': array(quoted(OPEN.repeat(20_000))),
  'brackets in a string with quotes': array(quoted(`\\"${OPEN.repeat(20_000)}\\"`)),
  'brackets behind a backslash and a quote': array(quoted(`\\\\\\"${OPEN.repeat(20_000)}`)),
  'a string without an end': `"${OPEN.repeat(20_000)}`,
  'a string that ends in a backslash': `"${OPEN.repeat(20_000)}\\"\\`,
};

/** Texts that are. */
const DEEP: Record<string, string> = {
  'one level deeper': nested(10_001),
  'one level deeper, of objects': `${'{"":'.repeat(10_001)}0${'}'.repeat(10_001)}`,
  'without ends': OPEN.repeat(10_001),
  'behind a string': array(quoted('x'), nested(10_000)),
  'behind a string with a quote': array(quoted('\\"'), nested(10_000)),
  'behind a string that ends in backslashes': array(quoted('\\\\'.repeat(7)), nested(10_000)),
  'behind many strings': array(...Array<string>(5000).fill(quoted('\\"\\\\')), nested(10_000)),
};

t.test('[F-526] what counts as nested more than 10,000 levels deep', (t) => {
  for (const [what, text] of Object.entries(SHALLOW)) t.equal(isTooDeep(text), false, what);
  for (const [what, text] of Object.entries(DEEP)) t.equal(isTooDeep(text), true, what);
  t.end();
});

// One that reads to the end of the text again for each quote would take longer than a test may.
t.test('[F-526] the levels are counted in linear time, also in text that is made to be slow', (t) => {
  for (const part of ['"', '\\"', '"\\', '\\\\"', '\\', '"\\""', '"",', '"\\"",']) {
    for (const start of ['', '"', `${OPEN}"`]) {
      t.equal(isTooDeep(start + part.repeat(2 ** 22 / part.length)), false, `${start}${part}…`);
    }
  }
  t.end();
});
