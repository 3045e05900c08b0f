import type { Random } from '@arc/test-client';

/** A value that is put into JSON text as it stands. */
class Raw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const deep = (levels: number, open: string, close: string, inner = ''): Raw =>
  new Raw(open.repeat(levels) + inner + close.repeat(levels));

/** Unusual values. */
const ODD: readonly unknown[] = [
  ...[null, true, false, 0, -0, -1, 1.5, 1e308, 2 ** 53, -(2 ** 53) - 2, '', ' ', '\u0000', '\ud800', '😀'],
  ...[[], {}, [[]], [null], { length: -1 }, { toString: 1 }, { valueOf: null, toString: {} }, 'x'.repeat(257)],
  ...['message', 'cancel', 'end', 'ping', 'pong', '__proto__', 'constructor', 'hasOwnProperty', 'toString'],
  ...[
    '1e999',
    '-1e999',
    '1e-999',
    '12345678901234567890',
    'NaN',
    'undefined',
    "'x'",
    '01',
    '+1',
    '"\\x"',
    '"\t"',
    '"\\ud800"',
  ].map((text) => new Raw(text)),
  ...[new Raw('{"__proto__":{"polluted":true}}'), new Raw('{"a":1,"a":2}'), new Raw('[1,]'), new Raw('/**/1')],
  ...[deep(9, '[', ''), deep(70, '[', ']'), deep(70, '{"a":', '}', '1')],
];

/** Values that take so long to be read that they are seldom picked. */
const LONG: readonly unknown[] = [
  deep(6000, '[', ']'),
  deep(4000, '{"a":', '}', '1'),
  new Array(2000).fill(0),
  new Array(2000).fill('x'),
  new Array(2000).fill({}),
  '\\"'.repeat(4000),
  '😀'.repeat(300),
  'x'.repeat(5000),
];

function odd(random: Random): unknown {
  return random.pick(random.chance(0.03) ? LONG : ODD);
}

const KEYS = [
  'type',
  'id',
  'agent_id',
  'context_id',
  'message',
  'result',
  'error',
  'chat',
  'code',
  'data',
  '__proto__',
  'constructor',
  '',
];

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !(value instanceof Raw);
}

/** Changes something somewhere in a value: takes it away, doubles it, or puts something odd in its place. */
export function mutate(random: Random, value: unknown): unknown {
  if (!isObject(value) || random.chance(0.15)) return odd(random);
  const copy: Record<string, unknown> = Object.assign(Object.create(null), value);
  const keys = Object.keys(copy);
  const key = random.pick(keys.length > 0 ? keys : KEYS);
  const how = random.below(6);
  if (how === 0) delete copy[key];
  else if (how === 1) copy[random.pick(KEYS)] = odd(random);
  else if (how === 2) copy[key] = copy[random.pick(keys.length > 0 ? keys : KEYS)];
  else if (how === 3) copy[key] = [copy[key], copy[key]];
  else copy[key] = mutate(random, copy[key]);
  return Array.isArray(value) && random.chance(0.8) ? Object.values(copy) : copy;
}

/** As JSON.stringify, but for raw text, and for what that refuses. */
export function write(value: unknown): string {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join()}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? 'null';
  return `{${Object.entries(value)
    .map(([key, field]) => `${JSON.stringify(key)}:${write(field)}`)
    .join()}}`;
}

/** Spoils text here and there. */
export function spoil(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const to = at + random.below(20);
  switch (random.below(7)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + text.slice(to);
    case 2:
      return text.slice(0, to) + text.slice(at);
    case 3:
      return text.slice(0, at) + random.bytes(1 + random.below(8)).toString('latin1') + text.slice(at);
    case 4:
      return (
        text.slice(0, at) +
        random.pick(['"', '{', '}', '[', ']', ',', ':', '\\', '\n', '\r', '\0', '\ufeff']) +
        text.slice(at)
      );
    case 5:
      return text + text;
    default:
      return random.bytes(random.below(200)).toString(random.pick(['latin1', 'utf8', 'base64']));
  }
}
