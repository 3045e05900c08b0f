// The output of `tap` in every package: one line per test as it ends, every failure in full where it happens and by name
// again at the end. tap's own reporters either redraw the screen, which turbo's log cannot show, or print raw TAP.
import { Transform } from 'node:stream';
import { inspect, styleText } from 'node:util';
import { Parser } from 'tap-parser';

const colored = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const paint = (color, text) => (colored ? styleText(color, text) : text);
const indent = (text, by) => text.trimEnd().replace(/^(?=.)/gm, ' '.repeat(by));
/** The names from the file down; below its file's heading a test goes without the file. */
const label = (path) => (path.length > 1 ? path.slice(1) : path).join(' › ');

/** How tap started the test file: long, the same for all of them, and of no help. */
const noise = new Set(['stdio', 'cwd', 'externalID', 'command', 'args']);

/** Comments that tap itself puts between the tests. */
const ownComment = /^# (Subtest|time=|skip:|todo:|failed |test count|\{ total)/;

/** What tap knows about a failure, the place and the difference first. */
function explain(diag) {
  if (diag === null || typeof diag !== 'object') {
    return diag ? String(diag) : '';
  }
  const { at, source, diff, stack, ...others } = diag;
  const rest = Object.fromEntries(Object.entries(others).filter(([key]) => !noise.has(key)));
  const parts = [];
  if (at?.fileName) {
    parts.push(`at ${at.fileName}:${at.lineNumber}:${at.columnNumber}`);
  }
  parts.push(source, diff);
  if (Object.keys(rest).length > 0) {
    parts.push(inspect(rest, { depth: 6, breakLength: 100 }));
  }
  parts.push(stack);
  return parts.filter((part) => typeof part === 'string' && part.trim() !== '').join('\n');
}

/**
 * Reads the TAP of test files and writes lines for readers: each as soon as it is known, or, with `wholeFiles`, those of a file in one
 * chunk, so that several processes can share a terminal.
 */
export class TestLines extends Transform {
  /** The names of the tests that failed. */
  failures = [];
  #parser;
  #wholeFiles;
  #text = '';

  constructor({ wholeFiles = false } = {}) {
    super({ decodeStrings: false });
    this.#wholeFiles = wholeFiles;
    this.#parser = new Parser((results) => {
      if (!results.ok && this.failures.length === 0) {
        this.failures.push(`the test run itself: ${inspect(results.failures, { depth: 4 })}`);
      }
    });
    this.#follow(this.#parser, []);
    this.#parser.on('comment', (comment) => this.print(comment.trimEnd()));
  }

  _transform(chunk, _encoding, done) {
    this.#parser.write(String(chunk));
    done();
  }

  _flush(done) {
    this.#parser.end();
    this.#pushText();
    done();
  }

  print(text) {
    if (text !== '') this.#text += `${text}\n`;
    if (!this.#wholeFiles) this.#pushText();
  }

  #pushText() {
    if (this.#text !== '') this.push(this.#text);
    this.#text = '';
  }

  /** Listens to one level of the TAP: the test files are level 0, and every level below them holds their subtests. */
  #follow(parser, path) {
    // A subtest's own line comes right after its contents, so what is known of the last child is about that line.
    let child;
    parser.on('child', (next) => {
      const failuresBefore = this.failures.length;
      const seen = { name: next.name, isGroup: false, failed: () => this.failures.length > failuresBefore };
      child = seen;
      // A program of shared-run.mjs: the files are what it runs.
      if (next.name.startsWith('.tap/shared/')) return this.#follow(next, []);
      next.on('child', () => {
        seen.isGroup = true;
      });
      if (path.length === 0) {
        this.print(`\n${next.name}`);
        // What a file itself says by `t.comment`, such as what a host of the adapter contract cannot promise.
        next.on('comment', (comment) =>
          this.print(ownComment.test(comment) ? '' : comment.trimEnd().replace('#', ' ')),
        );
      }
      this.#follow(next, [...path, next.name]);
    });
    parser.on('extra', (text) => this.print(indent(text, 4)));
    parser.on('bailout', (reason) => this.print(paint('red', `Bail out! ${reason}`)));
    parser.on('assert', (result) => {
      const subtest = child?.name === result.name ? child : undefined;
      child = undefined;
      const where = [...path, result.name];
      const note = result.skip ? 'skipped' : result.todo ? 'todo' : '';
      if (note !== '') {
        const reason = result.skip || result.todo;
        this.print(`  - ${label(where)} (${typeof reason === 'string' ? `${note}: ${reason}` : note})`);
      } else if (!result.ok) {
        // A subtest that failed only because something in it failed has been reported already.
        if (!subtest?.failed() || result.diag?.signal) {
          this.#fail(where, result.diag);
        }
      } else if (subtest !== undefined && !subtest.isGroup && path.length > 0) {
        const time = result.time ? paint('dim', ` (${Math.round(result.time)} ms)`) : '';
        this.print(`  ${paint('green', '✓')} ${label(where)}${time}`);
      }
      if (path.length === 0) this.#pushText();
    });
  }

  #fail(path, diag) {
    this.failures.push(path.join(' › '));
    this.print(`  ${paint('red', `✗ ${label(path)}`)}`);
    this.print(indent(explain(diag), 6));
  }
}

/** The failures of a run again, at its end, by name. */
export function listOfFailures(failures) {
  return failures.length === 0 ? '' : paint('red', `\nFailed:\n${indent(failures.join('\n'), 2)}`);
}

/** What tap prints in a workspace. */
export default class TapReporter extends TestLines {
  constructor() {
    super();
    this.print(`\n${process.env.npm_package_name ?? process.cwd()}`);
    process.once('exit', (code) => {
      if (code !== 0 && this.failures.length === 0) {
        // tap says nothing when it fails a run because too little of the source was covered.
        process.stdout.write(
          '\nEvery test passed, but coverage is missing or below the thresholds in tap.base.yaml.\n',
        );
      }
    });
  }

  _flush(done) {
    super._flush(() => {
      this.print(listOfFailures(this.failures));
      done();
    });
  }
}
