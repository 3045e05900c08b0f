import { Random } from '@arc/test-client';
import t from 'tap';
import { type Bytes, encode } from '../../../src/bytes.js';
import { headerOf, splitFrames } from '../../../src/relay/frames/websocket-frames.js';
import { Journal } from '../../../src/relay/resume/journal.js';

const wire = (frames: Bytes[]): string => frames.map((frame) => headerOf(frame) + frame).join('');

t.test('what has its header before it is split into the same frames, whatever their lengths', async (t) => {
  const lengths = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 100_000];
  const frames = lengths.map((length) => encode('x'.repeat(length)));
  t.strictSame(splitFrames(wire(frames)), frames);
  t.strictSame(splitFrames(''), []);
});

/** A journal beside a list of what it should have. A failing seed is in the title of the assertion. */
class Model {
  readonly journal = new Journal(10_000);
  readonly #random: Random;
  #expected: { seq: number; frame: Bytes }[] = [];
  #acknowledged = 0;
  /** What a connection has written since its last batch. */
  #batch: Bytes[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  #append(isBatched: boolean): void {
    const letters = this.#random.pick(['x', 'é', '漢']).repeat(this.#random.pick([1, 10, 70, 200]));
    const frame = this.journal.number(encode(`"type":"content","data":"${letters}"}`));
    if (isBatched) this.#batch.push(frame);
    else this.flush();
    this.journal.append(frame, isBatched);
    this.#expected.push({ seq: this.journal.lastSeq, frame });
  }

  flush(): void {
    const batch = this.#batch;
    this.#batch = [];
    if (batch.length > 0) this.journal.onBatch(wire(batch));
  }

  #acknowledge(): void {
    const seq = this.#acknowledged + this.#random.below(this.journal.lastSeq - this.#acknowledged + 1);
    this.journal.acknowledge(seq);
    this.#acknowledged = seq;
    this.#expected = this.#expected.filter((one) => one.seq > seq);
  }

  /** The session gets another connection, on which all that its client has not seen is written again, before what follows. */
  #replace(): void {
    this.journal.closeBatch();
    const seen = this.#acknowledged + this.#random.below(this.#expected.length + 1);
    this.#batch = [encode('{"type":"ready"}'), ...this.journal.framesAfter(seen)];
  }

  step(): void {
    const action = this.#random.below(10);
    if (action < 5) this.#append(true);
    else if (action === 5) this.#append(false);
    else if (action === 6) this.#batch.push(encode('{"type":"ack","seq":1}'));
    else if (action === 7) this.flush();
    else if (action === 8) this.#acknowledge();
    else this.#replace();
  }

  /** What is wrong, if anything is. */
  problem(): string | undefined {
    const { journal } = this;
    const after = this.#acknowledged + this.#random.below(this.#expected.length + 1);
    const all = this.#expected.map(({ frame }) => frame);
    const some = this.#expected.filter(({ seq }) => seq > after).map(({ frame }) => frame);
    if (JSON.stringify(journal.frames()) !== JSON.stringify(all)) return 'frames';
    if (JSON.stringify(journal.framesAfter(after)) !== JSON.stringify(some)) return `framesAfter ${after}`;
    const most = this.#random.below(20);
    if (JSON.stringify(journal.framesAfter(after, most)) !== JSON.stringify(some.slice(0, most)))
      return `${most} frames after ${after}`;
    if (journal.isEmpty !== (all.length === 0)) return 'isEmpty';
    if (journal.isEmpty ? journal.bytes !== 0 : journal.bytes < Math.max(...all.map(({ length }) => length)))
      return 'bytes';
    return undefined;
  }
}

t.test(
  'a journal has each frame that is not acknowledged once, in order, however they are written [F-274]',
  async (t) => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const model = new Model(seed);
      for (let step = 0; step < 200; step += 1) {
        model.step();
        const problem = model.problem();
        if (problem !== undefined) return t.fail(`seed ${seed}, step ${step}: ${problem}`);
      }
      model.flush();
      model.journal.acknowledge(model.journal.lastSeq);
      t.equal(model.journal.bytes, 0, `seed ${seed}: nothing is kept`);
    }
  },
);

function append(journal: Journal, count: number): Bytes[] {
  return Array.from({ length: count }, () => {
    const frame = journal.number(encode(`"data":"${'x'.repeat(200)}"}`));
    journal.append(frame, true);
    return frame;
  });
}

t.test('a batch is kept as a whole until more than half of it is acknowledged', async (t) => {
  const journal = new Journal(1000);
  const frames = append(journal, 10);
  const { bytes } = journal;
  t.equal(bytes, frames.join('').length);
  journal.onBatch(wire(frames));
  t.equal(journal.bytes, bytes, 'what counts does not change when it is written');
  t.equal(journal.isFull, true);
  journal.acknowledge(5);
  t.equal(journal.bytes, bytes);
  t.strictSame(journal.frames(), frames.slice(5));
  for (const seq of [6, 9]) {
    journal.acknowledge(seq);
    t.equal(journal.bytes, frames.slice(seq).join('').length, `only frames after ${seq} are kept`);
    t.strictSame(journal.frames(), frames.slice(seq));
  }
  journal.acknowledge(10);
  t.equal(journal.bytes, 0);
});

t.test('frames that are written again, together with new ones, do not count twice', async (t) => {
  const journal = new Journal(10_000);
  const frames = append(journal, 10);
  for (let connection = 0; connection < 10; connection += 1) {
    journal.closeBatch();
    const replayed = journal.frames();
    frames.push(...append(journal, 1));
    journal.onBatch(wire([encode('{"type":"ready"}'), ...replayed, ...frames.slice(-1)]));
    t.equal(journal.bytes, frames.join('').length);
  }
  t.strictSame(journal.frames(), frames);
});
