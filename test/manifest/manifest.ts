import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** An id in brackets, where it is given or cited. An id without brackets is only mentioned. */
const ID = /\[([FTS]-\d+)\]/g;

/** A normative sentence of a document, and its id. */
export interface Requirement {
  id: string;
  text: string;
}

export interface Document {
  requirements: Requirement[];
  /** Errors in the ids of the document. */
  problems: string[];
}

/** The list items and table rows of a part of a document, each as one line. */
function statementsOf(text: string): string[] {
  const isTableHead = (line: string, next = ''): boolean => /^\|[-| ]+\|$/.test(line) || /^\|[-| ]+\|$/.test(next);
  const lines = text.replace(/^```.*?^```$/gms, '').split('\n');
  const statements: string[] = [];
  let isItem = false;
  for (const [index, line] of lines.entries()) {
    const isContinued: boolean = isItem && line.startsWith('  ');
    isItem = isContinued || /^(-|\d+\.) /.test(line);
    if (isContinued) statements.push(`${statements.pop()} ${line.trim()}`);
    else if (isItem) statements.push(line.replace(/^(-|\d+\.) /, ''));
    else if (line.startsWith('|') && !isTableHead(line, lines[index + 1])) statements.push(line.slice(1).trim());
  }
  return statements;
}

/** Splits a list item or a table row into its sentences. Each must have an id in front. */
function readStatement(statement: string): Document {
  const [before, ...parts] = statement.split(ID);
  const requirements: Requirement[] = [];
  const problems = before?.trim() ? [`no id: ${statement}`] : [];
  for (let index = 0; index < parts.length; index += 2) {
    const [id, text] = [parts[index] as string, (parts[index + 1] as string).trim()];
    requirements.push({ id, text: text.replace(/^\| | ?\|$/g, '') });
    if (/[.?!] +["`A-Z…−]/.test(text)) problems.push(`${id} has more than one sentence: ${text}`);
    if (text === '') problems.push(`${id} has no text`);
  }
  return { requirements, problems };
}

/** Reads the requirements in the lists and tables of a document, from one heading to another or to the end. */
export function readDocument(path: string, from: string, to?: string): Document {
  const text = read(path);
  const [begin, end] = [text.indexOf(from), to === undefined ? text.length : text.indexOf(to)];
  if (begin === -1 || end < begin)
    return { requirements: [], problems: [`${path} has no section from ${from} to ${to}`] };
  const statements = statementsOf(text.slice(begin, end)).map(readStatement);
  const requirements = statements.flatMap(({ requirements }) => requirements);
  const problems = statements.flatMap(({ problems }) => problems);
  const all = text.match(ID)?.length ?? 0;
  if (all !== requirements.length) problems.push(`${all - requirements.length} ids are outside of lists and tables`);
  // A normative word in a paragraph would have no id.
  for (const paragraph of text.slice(begin, end).split('\n\n')) {
    if (/\b(MUST|SHOULD|MAY)\b/.test(paragraph) && !/^(-|\|)/.test(paragraph)) problems.push(`no id: ${paragraph}`);
  }
  return { requirements, problems: problems.map((problem) => `${path}: ${problem}`) };
}

/** The ids that a document mentions without brackets. */
export function mentionsOf(path: string): string[] {
  return Array.from(read(path).matchAll(/(?<![[\w-])([FTS]-\d+)(?![\]\d])/g), ([, id]) => id as string);
}

/** A test title that cites an id. */
export interface Citation {
  id: string;
  file: string;
  title: string;
}

/** The folders of tests that `npm test` runs. Only citations in these count. */
const FOLDERS = ['packages', 'examples'];
const OWN = ['test/', 'test/cluster/', 'packages/host-contract/src/'];

function filesIn(folder: string): string[] {
  const isTest = (path: string): boolean => path.endsWith('.ts') && !path.includes('node_modules');
  return readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
    .filter(isTest)
    .map((path) => folder + path)
    .sort();
}

export function testFiles(): string[] {
  const suites = FOLDERS.flatMap((folder) =>
    readdirSync(new URL(folder, root), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => `${folder}/${name}/`)
      .filter((path) => readdirSync(new URL(path, root)).includes('test'))
      .flatMap((path) => filesIn(`${path}test/`)),
  );
  const own = OWN.flatMap((folder) =>
    readdirSync(new URL(folder, root))
      .filter((name) => name.endsWith('.ts') && name !== 'manifest.test.ts')
      .map((name) => folder + name),
  );
  return [...suites, ...own].sort();
}

/**
 * A test title in the source: the first argument of `test` or of a contract's `declare`, or the first string of a row from
 * which titles are built.
 */
const TITLE = /(?:\.test\(|\bdeclare\(|\[)\s*(["'`])((?:\\.|(?!\1).)*)\1/gs;

/** The ids that a file cites in titles, and the ids in other places, where no test report shows them. */
export function readTests(file: string): { citations: Citation[]; elsewhere: string[] } {
  const source = read(file);
  const titles = Array.from(source.matchAll(TITLE), ([, , title]) => title as string);
  const citations = titles.flatMap((title) =>
    Array.from(title.matchAll(ID), ([, id]) => ({ id: id as string, file, title })),
  );
  const rest = source.replace(TITLE, '');
  return { citations, elsewhere: Array.from(rest.matchAll(ID), ([, id]) => `${id} in ${file}`) };
}

/** A title without ids, and with `…` for values that are inserted at run time. */
function readable(title: string): string {
  return title
    .replaceAll(ID, '')
    .replace(/\$\{(?:[^{}]|\{[^}]*\})*\}/g, '…')
    .replace(/\\(.)/g, '$1')
    .replaceAll('|', '\\|')
    .replace(/ +/g, ' ')
    .trim();
}

/** The manifest as Markdown: the requirements, and the tests that cover them. */
export function render(requirements: readonly Requirement[], citations: readonly Citation[]): string {
  const files = [...new Set(citations.map(({ file }) => file))].sort();
  const rows = requirements.map(({ id, text }) => {
    const tests = citations.filter((citation) => citation.id === id);
    const cells = tests.map(({ file, title }) => `${readable(title)} (${files.indexOf(file) + 1})`);
    return `| ${id} | ${text} | ${cells.join('<br>')} |`;
  });
  return [
    '# Requirements and their tests',
    '',
    'Generated by `test/manifest.test.ts` from PROTOCOL.md, ARCHITECTURE.md and the titles of the tests. The numbers in',
    'brackets refer to the files below. `…` stands for a value that is inserted at run time.',
    '',
    '| id | requirement | tests |',
    '| --- | --- | --- |',
    ...rows,
    '',
    '## Files',
    '',
    ...files.map((file, index) => `${index + 1}. [${file}](../${file})`),
    '',
  ].join('\n');
}
