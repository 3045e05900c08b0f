import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** An id where it is given or cited: in brackets. Without them it is only spoken of. */
const ID = /\[([FTS]-\d+)\]/g;

/** A sentence of a document that has to be true, and what it is called. */
export interface Requirement {
  id: string;
  text: string;
}

export interface Document {
  requirements: Requirement[];
  /** What is wrong with how the document gives its ids. */
  problems: string[];
}

/** The list items and table rows of a document's part, each as one line. */
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

/** Splits a list item or a table row into its sentences, each of which has to have an id before it. */
function readStatement(statement: string): Document {
  const [before, ...parts] = statement.split(ID);
  const requirements: Requirement[] = [];
  const problems = before?.trim() ? [`no id: ${statement}`] : [];
  for (let index = 0; index < parts.length; index += 2) {
    const [id, text] = [parts[index] as string, (parts[index + 1] as string).trim()];
    requirements.push({ id, text: text.replace(/^\| | ?\|$/g, '') });
    if (/[.?!] +["`A-Z…−]/.test(text)) problems.push(`${id} has more than one sentence: ${text}`);
    if (text === '') problems.push(`${id} says nothing`);
  }
  return { requirements, problems };
}

/** Reads what a document demands in its lists and tables, from a heading on, to another or the end. */
export function readDocument(path: string, from: string, to?: string): Document {
  const text = read(path);
  const [begin, end] = [text.indexOf(from), to === undefined ? text.length : text.indexOf(to)];
  if (begin === -1 || end < begin) return { requirements: [], problems: [`${path} has no part from ${from} to ${to}`] };
  const statements = statementsOf(text.slice(begin, end)).map(readStatement);
  const requirements = statements.flatMap(({ requirements }) => requirements);
  const problems = statements.flatMap(({ problems }) => problems);
  const all = text.match(ID)?.length ?? 0;
  if (all !== requirements.length) problems.push(`${all - requirements.length} ids stand where none is given`);
  // A word that binds, in a paragraph, would bind without an id.
  for (const paragraph of text.slice(begin, end).split('\n\n')) {
    if (/\b(MUST|SHOULD|MAY)\b/.test(paragraph) && !/^(-|\|)/.test(paragraph)) problems.push(`no id: ${paragraph}`);
  }
  return { requirements, problems: problems.map((problem) => `${path}: ${problem}`) };
}

/** The ids that a document speaks of without giving them. */
export function mentionsOf(path: string): string[] {
  return Array.from(read(path).matchAll(/(?<![[\w-])([FTS]-\d+)(?![\]\d])/g), ([, id]) => id as string);
}

/** A test that cites ids in its title. */
export interface Citation {
  id: string;
  file: string;
  title: string;
}

/** Files with tests that `npm test` runs. Others prove nothing to it: what cites there does not count. */
const FOLDERS = ['packages', 'examples'];
const OWN = ['', 'contract/'];

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
    readdirSync(new URL(`test/${folder}`, root))
      .filter((name) => name.endsWith('.ts') && name !== 'manifest.test.ts')
      .map((name) => `test/${folder}${name}`),
  );
  return [...suites, ...own].sort();
}

/**
 * Titles as they stand in the source: the string that `test` or a contract's `declare` is called with, or the first one
 * of a row from which titles are made.
 */
const TITLE = /(?:\.test\(|\bdeclare\(|\[)\s*(["'`])((?:\\.|(?!\1).)*)\1/gs;

/** What a file cites in titles, and how often ids stand anywhere else in it, where nothing prints them. */
export function readTests(file: string): { citations: Citation[]; elsewhere: string[] } {
  const source = read(file);
  const titles = Array.from(source.matchAll(TITLE), ([, , title]) => title as string);
  const citations = titles.flatMap((title) =>
    Array.from(title.matchAll(ID), ([, id]) => ({ id: id as string, file, title })),
  );
  const rest = source.replace(TITLE, '');
  return { citations, elsewhere: Array.from(rest.matchAll(ID), ([, id]) => `${id} in ${file}`) };
}

/** A title for readers: without ids, and without what is put in when it runs. */
function spoken(title: string): string {
  return title
    .replaceAll(ID, '')
    .replace(/\$\{(?:[^{}]|\{[^}]*\})*\}/g, '…')
    .replace(/\\(.)/g, '$1')
    .replaceAll('|', '\\|')
    .replace(/ +/g, ' ')
    .trim();
}

/** The manifest, for readers: what has to be true, and the tests that show it. */
export function render(requirements: readonly Requirement[], citations: readonly Citation[]): string {
  const files = [...new Set(citations.map(({ file }) => file))].sort();
  const rows = requirements.map(({ id, text }) => {
    const tests = citations.filter((citation) => citation.id === id);
    const cells = tests.map(({ file, title }) => `${spoken(title)} (${files.indexOf(file) + 1})`);
    return `| ${id} | ${text} | ${cells.join('<br>')} |`;
  });
  return [
    '# What is required, and the tests that show it',
    '',
    'Written by `test/manifest.test.ts` from PROTOCOL.md, ARCHITECTURE.md and the titles of the tests. The numbers in',
    'brackets are those of the files below. `…` stands for what a title is given when it runs.',
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
