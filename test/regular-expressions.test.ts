import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import ts from 'typescript';

const packages = new URL('../packages/', import.meta.url);

/** The code that reads what clients and agents send. */
const FOLDERS = readdirSync(packages).filter((name) => name !== 'thread-client');

interface Found {
  /** File and line. */
  name: string;
  expression: RegExp;
  /** The literal. */
  text: string;
}

function expressionsIn(file: string): Found[] {
  const source = ts.createSourceFile(file, readFileSync(new URL(file, packages), 'utf8'), ts.ScriptTarget.Latest);
  const found: Found[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isRegularExpressionLiteral(node)) {
      const [, pattern = '', flags = ''] = /^\/(.*)\/(\w*)$/s.exec(node.text) ?? [];
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
      found.push({ name: `${file}:${line + 1} ${node.text}`, expression: new RegExp(pattern, flags), text: node.text });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const files = FOLDERS.flatMap((name) =>
  readdirSync(new URL(`${name}/src/`, packages), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.startsWith('testing'))
    .map((path) => `${name}/src/${path}`),
);
const found = files.flatMap(expressionsIn);

/**
 * Expressions that V8 matches with a stack that grows by each character, and fails on long texts; and the length to which the
 * code restricts their input.
 */
const RESTRICTED: Readonly<Record<string, number>> = {
  '/^(?:[ !#-[\\]-\\uffff]|\\\\["\\\\/bfnrt])*$/': 4096,
};

/** The longest text of an agent that is read at all. */
const LONGEST = 16 * 1024 * 1024;
const LONG_UNITS = ['a', ' ', '\\n'];

/** Long enough for an expression that takes quadratic time to hang. */
const LENGTH = 128 * 1024;
const UNITS = ['0', '_', '-', '.', ':', ',', '/', '*', '(', '[', '?', '"', '\\', '\\u0041', '\\ud800', '\r', '\n'];
const LINES = ['\r\n', ' \n', 'event: done\n', 'data: 1\n', 'upgrade, ', 'not found ', 'é', '\ud800'];

/** The texts of one length, with endings that match and that do not. */
function* texts(units: readonly string[], length: number): Generator<string> {
  for (const unit of units) for (const ending of ['', '"', '\0']) yield unit.repeat(length / unit.length) + ending;
}

function* allTexts(restriction: number): Generator<string> {
  yield* texts(LONG_UNITS, Math.min(LONGEST, restriction));
  yield* texts([...UNITS, ...LINES], Math.min(LENGTH, restriction));
}

/** All texts, by their restriction. They are 150 MB: to make them again for each expression takes longer than to match them. */
const made = new Map<number, readonly string[]>();

function textsWithin(restriction: number): readonly string[] {
  const known = made.get(restriction) ?? [...allTexts(restriction)];
  made.set(restriction, known);
  return known;
}

t.ok(found.length > 20, 'the expressions of the source were found');

for (const { name, expression, text: literal } of found) {
  t.test(`neither throws nor hangs, whatever clients and agents send: ${name}`, async (t) => {
    const failures: string[] = [];
    for (const text of textsWithin(RESTRICTED[literal] ?? LONGEST)) {
      expression.lastIndex = 0;
      try {
        text.search(expression);
      } catch (error) {
        failures.push(`${JSON.stringify(text.slice(0, 20) + text.slice(-1))}: ${error}`);
      }
    }
    t.strictSame(failures, []);
  });
}
