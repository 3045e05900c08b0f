import t, { type Test } from 'tap';
import { boundLine } from '../../../src/log-line.js';
import { guardLogger, limitLogger } from '../../../src/logger.js';
import { faults } from '../../../src/testing/index.js';
import { type Line, Log, to, world } from '../helpers.js';

/** A line as pino writes it: of an error its message, its stack, its fields and its causes. */
function written({ about, message }: Line): string {
  return JSON.stringify({ ...about, message }, (_name, value: unknown) => {
    if (!(value instanceof Error)) return value;
    const { stack, cause } = value;
    const text = `${value.message}: ${(cause as Error | undefined)?.message}`;
    return { ...value, name: value.name, message: text, stack, cause };
  });
}

const HUGE = 'x"\u0001é'.repeat(100_000);

t.test('no log line is longer than 8 KiB, whatever agents and callbacks put into it [S-73]', async (t) => {
  const all = await world(t, {
    maxBadFrames: 1000,
    cleanupTimeout: 50,
    leaks: true,
    hooks: {
      onSend: () => {
        const cause = new Error(HUGE, { cause: new Error(HUGE) });
        const fields = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`field-${index}`, HUGE]));
        throw Object.assign(new Error(HUGE, { cause }), { details: { HUGE }, ...fields });
      },
    },
  });
  const client = await all.connect();
  const details = { text: HUGE, list: Array.from({ length: 5000 }, (_, index) => index) };
  const deep = JSON.parse('['.repeat(5000) + ']'.repeat(5000)) as unknown;
  for (const code of [-32_603, -50_007]) {
    all.agent.script('chat.start', { error: { code, message: HUGE, details } }, { error: { code, details: deep } });
    for (let asked = 0; asked < 2; asked += 1) await client.ask(to('a'));
  }
  all.agent.script('chat.start', faults.html(502));
  await client.ask(to('a', 'x', { context_id: 'é'.repeat(256), trace_id: '\u0001'.repeat(256) }));
  await client.ask(`{"${'x'.repeat(100_000)}`);
  await client.ask(to('a'));
  all.agent.script('chat.end', { error: { code: -32_603, message: HUGE, details }, times: 99 });
  client.socket.close();
  await all.session.closed;
  t.ok(all.log.lines.length > 10, `${all.log.lines.length} lines`);
  for (const line of all.log.lines) {
    const bytes = Buffer.byteLength(written(line));
    t.ok(bytes < 8192 - 512, `${line.message}: ${bytes} bytes`);
  }
  const failed = all.log.lines.find(({ message }) => message === 'a send failed')?.about.err as Error & {
    code: number;
  };
  t.match(failed, { name: 'InternalError', code: -32_603, message: /^x"/ }, 'it is still the error');
  t.match(failed.stack, /^InternalError: x"/);
});

t.test('an agent that does not answer is a warning, and one that answers with an error is none [S-74]', async (t) => {
  const all = await world(t, { leaks: true, cleanupTimeout: 50 });
  const client = await all.connect();
  all.agent.script('chat.start', faults.html(502), faults.reset(), { error: { code: -50_007 } });
  for (let asked = 0; asked < 3; asked += 1) await client.ask(to('support'));
  const warnings = all.log.at('warn');
  t.match(warnings, [
    {
      message: 'an agent does not answer',
      about: { err: { agentId: 'support', code: -41_003, address: all.agent.endpoint } },
    },
    { message: 'an agent does not answer', about: { err: { code: -41_003 } } },
  ]);
  t.equal(warnings.length, 2);
  t.match(
    all.log.at('debug').map(({ about }) => about.err),
    [{ code: -50_007 }],
  );
});

t.test('warnings and errors of one kind are limited to 10 a minute, but for chats that stay open [S-75]', async (t) => {
  const all = await world(t, {
    leaks: true,
    cleanupTimeout: 50,
    hooks: {
      onSendStart: () => {
        throw new Error('broken');
      },
    },
  });
  const client = await all.connect();
  all.agent.script('chat.start', { error: { code: -32_603 }, times: 13 });
  for (let sends = 0; sends < 13; sends += 1) await client.ask(to('support'));
  all.agent.script('chat.start', { ...faults.html(502), times: 13 });
  for (let sends = 0; sends < 13; sends += 1) await client.ask(to('support'));
  for (let sends = 0; sends < 13; sends += 1) await client.ask(to(`agent-${sends}`));
  all.agent.script('chat.end', { ...faults.html(502), times: 999 });
  client.socket.close();
  await all.session.closed;
  const count = (part: string): number =>
    all.log.at('warn', 'error').filter(({ message }) => message.includes(part)).length;
  t.equal(count('a send failed'), 10);
  t.equal(count('an agent does not answer'), 10);
  t.equal(count('the hook onSendStart threw'), 10);
  t.ok(count('orphaned chat') >= 13, 'each of these is needed to end the chat by hand');
});

t.test(
  'the first line of a kind after a minute says how many were suppressed, and kinds are apart [S-75]',
  async (t) => {
    let now = 0;
    t.intercept(performance, 'now', { value: () => now });
    const log = new Log();
    const logger = limitLogger(log);
    for (let times = 0; times < 25; times += 1) logger.warn({ times }, 'one kind');
    logger.error({}, 'another kind');
    logger.info({}, 'one kind');
    now = 59_999;
    logger.warn({}, 'one kind');
    now = 60_000;
    for (const message of ['one kind', 'one kind', 'another kind']) logger.warn({}, message);
    t.equal(log.lines.length, 10 + 1 + 1 + 3);
    t.strictSame(log.lines.slice(-3), [
      { level: 'warn', message: 'one kind', about: { suppressed: 16 } },
      { level: 'warn', message: 'one kind', about: {} },
      { level: 'warn', message: 'another kind', about: {} },
    ]);
  },
);

/** Counts how often the fields of an object are read, and fails if they are listed. */
function counted<Value extends object>(t: Test, value: Value): { reads: () => number; value: Value } {
  let reads = 0;
  const get = (target: Value, name: string | symbol): unknown => {
    reads += 1;
    return Reflect.get(target, name);
  };
  const ownKeys = (): never => t.fail('its items are listed') as never;
  return { reads: () => reads, value: new Proxy(value, { get, ownKeys }) };
}

t.test('of a long array only the first items are read for a log line [F-528]', (t) => {
  for (const item of [0, 'x', null, [], {}, HUGE]) {
    const details = counted(t, Array<unknown>(1_000_000).fill(item));
    boundLine({ err: Object.assign(new Error('x'), { details: details.value }) });
    boundLine({ details: details.value });
    boundLine(details.value);
    t.ok(details.reads() < 50_000, `${details.reads()} reads`);
  }
  const short = { list: Array.from({ length: 100 }, (_, index) => index) };
  t.equal(boundLine(short), short, 'a short one is logged as it is');
  const numbers = Array.from({ length: 5000 }, (_, index) => index);
  t.strictSame(boundLine(numbers), { ...numbers.slice(0, 12) }, 'of a long one the first items are kept');
  t.end();
});

t.test('of a Buffer only the length is read for a log line [F-528]', (t) => {
  const body = Buffer.alloc(2 ** 20);
  const time = (act: () => void): number => {
    const start = performance.now();
    act();
    return performance.now() - start;
  };
  // What must not be done, since it makes a text of each index.
  const listed = time(() => {
    for (const _ in body) break;
  });
  for (const about of [{ body }, { err: Object.assign(new Error('x'), { body }) }, body]) {
    const took = time(() => boundLine(about));
    t.ok(took < listed / 10, `${took} of ${listed} ms`);
  }
  t.match(boundLine({ body }), { body: '[too long to be logged]' });
  t.match(boundLine({ body: new Uint8Array(1000).fill(255) }), { body: '[too long to be logged]' });
  const short = { body: Buffer.alloc(100) };
  t.equal(boundLine(short), short);
  t.end();
});

t.test('of an error with many fields only the first are read for a log line [F-528]', (t) => {
  let reads = 0;
  const err = new Error('x');
  const get = (): string => {
    reads += 1;
    return HUGE;
  };
  for (let index = 0; index < 1000; index += 1) Object.defineProperty(err, `field-${index}`, { enumerable: true, get });
  boundLine({ err });
  t.ok(reads < 50, `${reads} reads`);
  t.end();
});

t.test('nothing is read for a line at a level that the logger does not write [F-529]', (t) => {
  const details = counted(t, []);
  const lines: string[] = [];
  const log = (_about: object, message: string): void => void lines.push(message);
  const pino = { debug: log, warn: log, isLevelEnabled: (level: string) => level !== 'debug' };
  const logger = guardLogger(pino);
  logger.debug({ details: details.value }, 'off');
  t.equal(details.reads(), 0);
  logger.warn({ details: details.value }, 'on');
  guardLogger({ debug: log }).debug({}, 'unknown');
  t.strictSame(lines, ['on', 'unknown']);
  t.end();
});
