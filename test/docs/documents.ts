import { existsSync, readdirSync, readFileSync } from 'node:fs';

export const root = new URL('../../', import.meta.url);

export const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

function filesIn(folder: string, name: RegExp): string[] {
  if (!existsSync(new URL(folder, root))) return [];
  return readdirSync(new URL(folder, root))
    .filter((file) => name.test(file))
    .map((file) => `${folder}${file}`)
    .sort();
}

const packages = readdirSync(new URL('packages/', root)).sort();

/** The documents whose code blocks are run. */
export const DOCUMENTS = [
  'README.md',
  ...filesIn('docs/', /\.md$/),
  ...packages.flatMap((name) => filesIn(`packages/${name}/`, /^README\.md$/)),
];

/** The other documents; their links are checked. */
export const OTHER_DOCUMENTS = [
  ...filesIn('', /\.md$/).filter((name) => name !== 'README.md'),
  ...filesIn('bench/', /\.md$/),
  ...readdirSync(new URL('examples/', root)).flatMap((name) => filesIn(`examples/${name}/`, /\.md$/)),
];

export interface Block {
  /** File and line. */
  name: string;
  document: string;
  /** What the comment above the block says: `run: server`. */
  kind: string;
  language: string;
  code: string;
  /** It runs, but is not compiled: `<!-- run: server, untyped -->`. */
  isUntyped: boolean;
}

/** The code blocks of a document, each with the comment above it: `<!-- run: server -->`. */
export function blocksOf(document: string): Block[] {
  const text = read(document);
  return Array.from(
    text.matchAll(/^<!-- ([^\n]+) -->\n```(\w+)\n(.*?)^```$/gms),
    ({ 1: kind = '', 2: language = '', 3: code = '', index }) => ({
      name: `${document}:${text.slice(0, index).split('\n').length}`,
      document,
      kind: kind.replace(/, untyped$/, ''),
      language,
      // The package that applications install is a bundle around the one that the tests use.
      code: code.replace("from 'redis'", "from '@redis/client'"),
      isUntyped: kind.endsWith(', untyped'),
    }),
  );
}

/** All code blocks of the documents. */
export const blocks = DOCUMENTS.flatMap(blocksOf);

/** The cells of all table rows below a heading, down to the next heading of the same or a higher level. */
export function rowsBelow(document: string, heading: string): string[][] {
  const level = heading.indexOf(' ');
  const [, below = ''] = read(document).split(`\n${heading}\n`);
  const [section = ''] = below.split(new RegExp(`^#{1,${level}} `, 'm'));
  const tables = section.match(/(^\|.*\|\n)+/gm) ?? [];
  return tables.flatMap((table) =>
    table
      .trim()
      .split('\n')
      .slice(2)
      .map((row) =>
        row
          .split(/(?<!\\)\|/)
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ),
  );
}

/** The anchors that GitHub makes of a document's headings. */
export function anchorsOf(document: string): string[] {
  return Array.from(read(document).matchAll(/^#+ (.*)$/gm), ([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  );
}
