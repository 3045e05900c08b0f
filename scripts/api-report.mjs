// Writes api/<package>.md: the public types of each package, as its .d.ts files say them, so that a change is seen in
// review, and api/undocumented.md: what is public and has no doc comment. Run it after a build: `npm run api`. With --check
// it writes nothing, and exits with 1 if a report is not as it would be written.
//
// A report has what the entry points export, and the types of the package that these refer to.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../', import.meta.url));
const isCheck = process.argv.includes('--check');
const undocumented = [];
const problems = [];

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** The declaration files of a package's entry points, by their subpath. */
function entriesOf(folder) {
  const { exports = {} } = readJson(join(folder, 'package.json'));
  return Object.entries(exports).flatMap(([subpath, target]) =>
    typeof target === 'object' && target.types !== undefined ? [[subpath, join(folder, target.types)]] : [],
  );
}

/** What a name stands for, behind the exports and imports that pass it on. */
function resolve(checker, symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** The declarations of a symbol in a package: not those of other packages. */
function declarationsOf(symbol, folder) {
  return (symbol.declarations ?? []).filter(({ parent }) => {
    return parent?.getSourceFile().fileName.startsWith(join(folder, 'dist/'));
  });
}

/** The text of a declaration without its comments. */
function textOf(declaration) {
  const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
  const printer = ts.createPrinter({ removeComments: true });
  return printer.printNode(ts.EmitHint.Unspecified, statement, statement.getSourceFile());
}

/** Whether a declaration has a doc comment. */
function isDocumented(declaration) {
  const hasComment = (node) => ts.getJSDocCommentsAndTags(node).length > 0;
  const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
  return hasComment(statement) || hasComment(declaration);
}

/** Calls back with each type that a declaration refers to. */
function forEachReference(checker, node, callback) {
  if (ts.isIdentifier(node)) {
    const symbol = checker.getSymbolAtLocation(node);
    if (symbol !== undefined) callback(resolve(checker, symbol));
  }
  node.forEachChild((child) => forEachReference(checker, child, callback));
}

const TOP_LEVEL =
  ts.SymbolFlags.Class |
  ts.SymbolFlags.Interface |
  ts.SymbolFlags.TypeAlias |
  ts.SymbolFlags.Enum |
  ts.SymbolFlags.Variable |
  ts.SymbolFlags.Function;

function reportOf(checker, program, folder, [subpath, file], others) {
  const source = program.getSourceFile(file);
  if (source === undefined) throw new Error(`${file} is not there: build first`);
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source));
  const named = new Map();
  for (const symbol of exported) {
    if (symbol.name === 'module.exports') continue;
    const target = resolve(checker, symbol);
    const own = declarationsOf(target, folder);
    const isInternal = own.some((one) => ts.getJSDocTags(one).some(({ tagName }) => tagName.text === 'internal'));
    if (!isInternal) named.set(symbol.name, target);
  }
  const visit = (symbol) => {
    for (const declaration of declarationsOf(symbol, folder)) {
      forEachReference(checker, declaration, (other) => {
        const isTopLevel =
          (other.flags & TOP_LEVEL) !== 0 &&
          other.declarations?.some(
            ({ parent }) => parent && (ts.isSourceFile(parent) || ts.isVariableDeclarationList(parent)),
          );
        if (!isTopLevel || other === symbol || others.has(other) || [...named.values()].includes(other)) return;
        if (declarationsOf(other, folder).length === 0) return;
        others.set(other, other.name);
        visit(other);
      });
    }
  };
  for (const symbol of named.values()) visit(symbol);
  for (const [name, symbol] of named) {
    const declarations = declarationsOf(symbol, folder);
    if (declarations.length === 0 || declarations.some(isDocumented)) continue;
    const path = declarations[0].getSourceFile().fileName.slice(root.length);
    undocumented.push(`| ${name} | ${path.replace('dist/', 'src/').replace('.d.ts', '.ts')} |`);
  }
  return section(`Exports of \`${subpath}\``, named, folder);
}

/** Declarations under a heading, sorted by name. */
function section(title, symbols, folder) {
  if (symbols.size === 0) return [];
  const lines = ['', `## ${title}`, '', '```ts'];
  for (const [name, symbol] of [...symbols].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) {
    const texts = declarationsOf(symbol, folder).map(textOf);
    if (texts.length === 0) lines.push(`// ${name}: of another package`);
    else lines.push(...texts.map((text) => (name === symbol.name ? text : `// exported as ${name}\n${text}`)));
  }
  return [...lines, '```'];
}

/** Writes a report, or compares it. */
function report(name, lines) {
  const text = `${lines.join('\n')}\n`;
  const path = join(root, 'api', `${name}.md`);
  if (!isCheck) writeFileSync(path, text);
  else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    problems.push(`${path.slice(root.length)} is not up to date: run \`npm run api\`, and look at what changed`);
  }
}

const folders = readdirSync(join(root, 'packages'))
  .map((name) => join(root, 'packages', name))
  .filter(
    (folder) => existsSync(join(folder, 'package.json')) && readJson(join(folder, 'package.json')).private !== true,
  );
const entries = new Map(folders.map((folder) => [folder, entriesOf(folder)]));
const program = ts.createProgram(
  [...entries.values()].flat().map(([, file]) => file),
  {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    skipLibCheck: true,
    types: ['node'],
  },
);
const checker = program.getTypeChecker();
if (!isCheck) mkdirSync(join(root, 'api'), { recursive: true });
for (const [folder, ofPackage] of entries) {
  const { name } = readJson(join(folder, 'package.json'));
  const lines = [`# ${name}`, '', 'Written by `npm run api`: the public types. Do not edit.'];
  const others = new Map();
  for (const entry of ofPackage) lines.push(...reportOf(checker, program, folder, entry, others));
  const referred = new Map(Array.from(others, ([symbol, other]) => [other, symbol]));
  lines.push(...section('Types that these refer to', referred, folder));
  report(name.replace('@', '').replace('/', '-'), lines);
}
report('undocumented', [
  '# Public, and without a doc comment',
  '',
  'Written by `npm run api`. Do not edit: document it.',
  '',
  '| name | declared in |',
  '| --- | --- |',
  ...[...new Set(undocumented)].sort(),
]);
for (const problem of problems) process.stderr.write(`${problem}\n`);
if (problems.length > 0) process.exitCode = 1;
