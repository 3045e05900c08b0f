import { Random } from '@arc/test-client';
import { chatIdOf } from '@arc/thread-protocol';
import { createParser } from 'eventsource-parser';
import t from 'tap';
import { decode } from '../../src/bytes.js';
import type { ArcEvent } from '../../src/client/event.js';
import { fastPath } from '../../src/client/fast-path.js';
import { SseReader } from '../../src/client/sse-reader.js';

type Read = [event: string, json: string, chatId: string | undefined];

const CONTENT = new Set(['', 'content', 'stream', 'chat', 'message']);

/** The events that say which chat they belong to. */
const NAMING = new Set(['content', 'done']);

/** What a stream says, read as a whole by nothing but a parser of SSE and JSON.parse. */
function plainly(stream: string): Read[] {
  const read: Read[] = [];
  const onEvent = ({ event = '', data }: { event?: string | undefined; data: string }): void => {
    const name = CONTENT.has(event) ? 'content' : event;
    try {
      const parsed: unknown = JSON.parse(data);
      read.push([name, data, NAMING.has(name) ? chatIdOf(parsed) : undefined]);
    } catch {
      read.push([name, data === '' && name === 'done' ? 'null' : JSON.stringify(data), undefined]);
    }
  };
  createParser({ onEvent }).feed(`${stream}\n\n`);
  return read;
}

/** Reads a stream that arrives in these chunks. */
function inChunks(chunks: readonly Buffer[]): Read[] {
  const read: Read[] = [];
  const owner = {
    onStreamEvent: ({ event, json, chatId }: ArcEvent) => read.push([event, json, chatId]),
    onLongEvent: () => t.fail('no event is too long'),
  };
  const reader = new SseReader(owner, 1_000_000);
  for (const chunk of chunks) reader.read(chunk);
  reader.end();
  return read;
}

/** The same with every event parsed: what the fast path is compared with. */
function parsed(chunks: readonly Buffer[]): Read[] {
  fastPath.isEnabled = false;
  try {
    return inChunks(chunks);
  } finally {
    fastPath.isEnabled = true;
  }
}

const inOneChunk = (stream: string): Buffer[] => [Buffer.from(stream)];

const piece = (content: string, chatId = 'c-1', end = '\n'): string =>
  `event: stream${end}data: ${JSON.stringify({ chatId, parts: [{ content }] })}${end}${end}`;
const done = (chatId = 'c-1', end = '\n'): string =>
  `event: done${end}data: {"chatId":"${chatId}","done":true}${end}${end}`;

t.test('events are the same wherever a stream is cut, whatever ends their lines', async (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const words = ['The ', 'Größe', 'a "quote"', '\n', '漢字', '', '😀', 'a\\b'];
    const stream = words.map((word) => piece(word, 'c-1', end)).join('') + done('c-1', end);
    t.same(inChunks(inOneChunk(stream)), plainly(stream));
    for (const cut of [1, 2, 3, 7, 50, 70]) {
      const bytes = Buffer.from(stream);
      const chunks = Array.from({ length: Math.ceil(bytes.length / cut) }, (_, n) =>
        bytes.subarray(n * cut, (n + 1) * cut),
      );
      t.same(inChunks(chunks), plainly(stream), `${cut} bytes at a time`);
      t.same(parsed(chunks), plainly(stream), `${cut} bytes at a time, all parsed`);
    }
  }
});

t.test('a reader that is stopped tells nothing more, not even of the same chunk', async (t) => {
  const read: string[] = [];
  const owner = {
    onStreamEvent({ json }: ArcEvent) {
      read.push(json);
      if (read.length === 5) reader.stop();
    },
    onLongEvent: () => t.fail(),
  };
  const reader = new SseReader(owner, 1000);
  reader.read(Buffer.from(piece('x').repeat(10) + done()));
  t.equal(read.length, 5);
});

t.test('an event that is longer than allowed is reported, to the byte', async (t) => {
  const told: string[] = [];
  const owner = {
    onStreamEvent: ({ json }: ArcEvent) => told.push(String(json.length)),
    onLongEvent() {
      told.push('long');
      reader.stop();
    },
  };
  const short = piece('é'.repeat(10));
  const limit = Buffer.byteLength(short) - Buffer.byteLength('event: stream\ndata: \n\n');
  const reader = new SseReader(owner, limit);
  reader.read(Buffer.from(short.repeat(4) + piece(`${'é'.repeat(10)}x`) + short));
  t.same(told.slice(3), [told[0], 'long']);
});

/** What looks like the events before it, and is none of them; in the stream before, and in this one. */
const ALIKE: Record<string, [before: string[], stream: string[]]> = {
  'an escape that JSON does not know': [[], [piece('a'), piece('b'), piece('c').replace('"c"', '"\\x"'), piece('d')]],
  'an escape that is too short': [[], [piece('a'), piece('b'), piece('c').replace('"c"', '"\\u12"'), piece('d')]],
  'a tab in a string': [[], [piece('a'), piece('b'), piece('c').replace('"c"', '"\t"'), piece('d')]],
  'a string without an end': [[], [piece('a'), piece('b'), piece('c').replace('"c"', '"c\\"'), piece('d')]],
  'a second line of data': [[], [piece('a'), piece('b'), `${piece('c').slice(0, -1)}data: 1\n\n`, piece('d')]],
  'something behind the data': [[], [piece('a'), piece('b'), piece('c').replace('\n\n', ' 1\n\n'), piece('d')]],
  'text that is no JSON': [[], [piece('a'), piece('b'), 'event: stream\ndata: c\n\n', piece('d')]],
  'another name': [[], [piece('a'), piece('b'), piece('c').replace('stream', 'progress'), piece('d')]],
  'an event before it, with other ends of lines': [
    [],
    ['a', 'b', 'c', 'd'].map((word) => piece('0', 'c-1', '\r\n').replace(/\r\n$/, '\n') + piece(word)),
  ],
  'lines of data as long as what they are written as': [
    ['event: done\ndata: ""\ndata:x\n\n'],
    ['event: done\ndata: ""\ndata:x\n\n'],
  ],
  'an id that stands for something else, too': [
    ['a', 'b'].map((word) => `data: {"id":"c-1","chatId":"c-1","k":"${word}"}\n\n`),
    ['a', 'b'].map((word) => `data: {"id":"c-2","chatId":"c-1","k":"${word}"}\n\n`),
  ],
  'an id in other characters': [
    ['a', 'b'].map((word) => `data: {"id":"c-1","k":"${word}","chatId":"\\u0063-1"}\n\n`),
    ['a', 'b'].map((word) => `data: {"id":"c-2","k":"${word}","chatId":"\\u0063-1"}\n\n`),
  ],
  'a last event with an id that stands for something else, too': [
    [done().replace('true', '"c-1"')],
    [done('c-1').replace('true', '"c-1"').replace('c-1', 'c-2')],
  ],
};

for (const [what, [before, stream]] of Object.entries(ALIKE)) {
  t.test(`is read as by a parser: ${what}`, async (t) => {
    const chunks = (events: string[]): Buffer[] => events.map((event) => Buffer.from(event));
    const all = [...before, ...stream];
    t.same(inChunks(chunks(all)), plainly(all.join('')), 'event by event');
    t.same(inChunks(inOneChunk(all.join(''))), plainly(all.join('')), 'at once');
  });
}

const NAMES = ['stream', 'stream', 'chat', '', 'progress', 'progress', 'done'];
const ENDS = ['\n', '\n', '\r\n', '\r'];
const WORDS = ['a', 'Größe', '"', '\\', '\n', '漢', '😀', '{', 'c-1', 'chatId', '\u2028', '\ud800'];
const BREAKS = [
  '\n',
  '\r',
  '\n\n',
  '\r\n',
  '"',
  '\\',
  '\\u00e9',
  '\\x',
  ':',
  '{',
  '}',
  'data: ',
  'event: x\n',
  '\u0001',
  '',
];

const KINDS: ((word: string, id: string) => string)[] = [
  (word, id) => `{"chatId":"${id}","message":{"parts":[{"content":${word}}]}}`,
  (word, id) => `{"content":${word},"chatId":"${id}"}`,
  (word, id) => `{"chatId":${word},"id":"${id}"}`,
  (word, id) => `{"id":"${id}","chatId":"${id}","k":${word}}`,
  (word) => `{"k":${word},"n":[1,2,{}]}`,
  (word) => word,
  (_, id) => `{"chatId":"${id}","done":true}`,
  (word, id) => `{"result":{"chat":{"chatId":"${id}"}},"k":[${word},"x"]}`,
  (word, id) => `{"chatId":${word},"chat":{"chatId":"${id}"}}`,
  (word, id) => `{"result":{"chatId":"${id}","chat":{"chatId":${word}}}}`,
];

/** Not of a `done` without any, which is one for the reader, though none for the standard. */
const hasData = ([, json]: Read): boolean => json !== 'null';

/** `npm run test:oracle` reads 500,000. */
const STREAMS = Number(process.env.ORACLE_STREAMS ?? 5000);

t.test('streams are read as a parser reads them, however they are spelled, broken and cut', async (t) => {
  const seed = Number(process.env.ORACLE_SEED ?? Date.now() % 2 ** 31);
  t.comment(`seed ${seed}`);
  const random = new Random(seed);
  const any = <Item>(items: readonly Item[]): Item => random.pick(items);
  const word = (): string => JSON.stringify(Array.from({ length: random.below(4) }, () => any(WORDS)).join(''));
  let events = 0;
  for (let n = 0; n < STREAMS; n += 1) {
    const kind = any(KINDS);
    const name = any(NAMES);
    const end = any(ENDS);
    const space = any([' ', ' ', '']);
    const id = `c-${random.below(4)}`;
    let stream = random.below(20) === 0 ? '\ufeff' : '';
    for (let count = random.below(20); count > 0; count -= 1) {
      const called = random.below(10) === 0 ? any(NAMES) : name;
      const odd = random.below(20) === 0;
      if (odd) stream += any([': comment', 'id: 7', 'retry: 5', 'odd', 'data', 'data: 1']) + end;
      if (called !== '') stream += `event:${space}${called}${end}`;
      stream += `data:${space}${(random.below(10) === 0 ? any(KINDS) : kind)(word(), random.below(20) === 0 ? 'c-9' : id)}${end}${end}`;
    }
    if (random.below(4) === 0) {
      const at = random.below(stream.length);
      stream = stream.slice(0, at) + any(BREAKS) + stream.slice(at + random.below(3));
    }
    // Half a character has no bytes.
    const bytes = Buffer.from(stream);
    const chunks: Buffer[] = [];
    const size = any([5, 200, 10_000, 10_000]);
    for (let at = 0; at < bytes.length; ) {
      const next = at + 1 + random.below(size);
      chunks.push(bytes.subarray(at, next));
      at = next;
    }
    const expected = plainly(bytes.toString().replace(/^\ufeff/, '')).filter(hasData);
    events += expected.length;
    for (const read of [inChunks(chunks), parsed(chunks)]) {
      if (JSON.stringify(read.filter(hasData)) === JSON.stringify(expected)) continue;
      t.same(read.filter(hasData), expected, `seed ${seed}, stream ${n}: ${JSON.stringify(chunks.map(String))}`);
      return;
    }
  }
  t.comment(`${events} events in ${STREAMS} streams`);
  t.ok(events > STREAMS);
});

t.test('lines that mean nothing take not much more time than events, whatever ends them [F-458]', async (t) => {
  const lines = {
    'CR alone': '\r'.repeat(65_536),
    'LF, and a CR at the end': `${'\n'.repeat(65_535)}\r`,
    'CR LF': '\r\n'.repeat(32_768),
    'unknown fields': 'x\n'.repeat(32_768),
    'fields that begin as known ones': 'datax\n'.repeat(10_922),
    'times that are none': 'retry:x\n'.repeat(8192),
    comments: ':\n'.repeat(32_768),
  };
  /** Milliseconds for 40 chunks of 64 KiB, at best. */
  const timeOf = (chunk: string): number => {
    const bytes = Buffer.from(chunk);
    const times = [1, 2, 3].map(() => {
      const reader = new SseReader({ onStreamEvent: () => {}, onLongEvent: () => t.fail() }, 100_000);
      reader.read(Buffer.from('\n'));
      const start = performance.now();
      for (let n = 0; n < 40; n++) reader.read(bytes);
      return performance.now() - start;
    });
    return Math.min(...times);
  };
  const events = timeOf('event: stream\ndata: {"type":"content","data":"a word"}\n\n'.repeat(1191));
  for (const [what, chunk] of Object.entries(lines)) {
    const ratio = timeOf(chunk) / events;
    // An error with a stack for each line, which a parser makes of them, is 80 times as long.
    t.ok(ratio < 20, `${what}: ${ratio.toFixed(1)} times as long as events`);
  }
});

t.test('an end of a line that is cut, and one after the other, are one and two [F-458]', async (t) => {
  for (const [ends, chunks] of Object.entries({
    'CR LF, cut': ['data: 1\r', '\n\r', '\ndata: 2\r', '\n', '\r', '\n'],
    'CR, cut': ['data: 1\r', '\rdata: 2', '\r', '\r'],
    'CR and CR LF': ['data: 1\r', '\r\ndata: 2\r', '\r', '\n'],
    'lines between that mean nothing': [': a\nx\nda', 'ta: 1\ny\n', 'z', '\n\nid: 1\n: b\ndata: 2\nretry: 1\n', '\n'],
  })) {
    t.same(
      inChunks(chunks.map((chunk) => Buffer.from(chunk))).map(([, json]) => json),
      ['1', '2'],
      ends,
    );
  }
});

t.test('an event of very many short lines is too large, wherever they are cut [F-461]', async (t) => {
  for (const cut of ['data:x\n', 'x\ndata:']) {
    let long = 0;
    const onLongEvent = (): void => {
      long += 1;
    };
    const reader = new SseReader({ onStreamEvent: () => t.fail(), onLongEvent }, 16 * 1024 * 1024);
    reader.read(Buffer.from('data:'));
    for (let n = 0; n < 260_000; n++) reader.read(Buffer.from(cut));
    t.equal(long, 0, 'not yet');
    for (let n = 0; n < 3000 && long === 0; n++) reader.read(Buffer.from(cut));
    t.equal(long, 1);
  }
});

t.test('a very long string is read', async (t) => {
  const stream = piece('a') + piece('b') + piece('x'.repeat(40_000_000)) + piece('\n'.repeat(20_000_000));
  const lengths: number[] = [];
  const owner = { onStreamEvent: ({ json }: ArcEvent) => lengths.push(json.length), onLongEvent: () => t.fail() };
  new SseReader(owner, Number.POSITIVE_INFINITY).read(Buffer.from(stream));
  const around = piece('').length - 'event: stream\ndata: \n\n'.length;
  t.same(lengths, [around + 1, around + 1, around + 40_000_000, around + 40_000_000]);
});

t.test('bytes that are no UTF-8 are read as the signs for that', async (t) => {
  const stream = Buffer.concat([Buffer.from(piece('x').repeat(3)), Buffer.from(piece('\xff'), 'latin1')]);
  t.same(inChunks([stream]), plainly(stream.toString()));
  t.ok(decode(inChunks([stream]).at(-1)?.[1] as never).includes('\ufffd'));
});

t.test('[F-530] text that ends with "event: done" ends no stream, however many lines are empty behind it', (t) => {
  const text = 'This is our closing event: done';
  for (let empty = 1; empty < 50; empty += 1) {
    const stream = [`data: ${text}\n`, '\n'.repeat(empty), 'data: "more"\n\n'].map((part) => Buffer.from(part));
    const lines = Array.from(Buffer.concat(stream).toString().matchAll(/.*\n/g), ([line]) => Buffer.from(line));
    const heard = [
      ['content', JSON.stringify(text), undefined],
      ['content', '"more"', undefined],
    ];
    t.strictSame(inChunks(stream), heard, `${empty} empty lines`);
    t.strictSame(inChunks(lines), heard, `${empty} empty lines, one at a time`);
  }
  t.end();
});

t.test(
  '[F-530] "event: done" without data ends a stream at its start and behind other lines, wherever it is cut',
  (t) => {
    for (const before of ['', '\n', '\n'.repeat(40), ': comment\n']) {
      for (const end of ['event: done\n\n', 'event:done\n\n\n', 'event: done\r\n\r\n']) {
        const bytes = Buffer.from(before + end);
        for (let cut = 1; cut <= bytes.length; cut += 1) {
          const read = inChunks([bytes.subarray(0, cut), bytes.subarray(cut)]);
          t.strictSame(read[0], ['done', 'null', undefined], JSON.stringify([before, end, cut]));
        }
      }
    }
    t.end();
  },
);
