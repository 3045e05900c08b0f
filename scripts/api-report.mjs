// Writes api/<package>.md: the public types of each package, as its .d.ts files say them, so that a change is seen in
// review. Run it after a build: `npm run api`. With --check it writes nothing, and exits with 1 if a report is not as it would
// be written. Either way it exits with 1 if something public has no doc comment: an export, a method or an accessor of an
// exported class or interface, or an option.
//
// A report has what the entry points export, and the types of the package that these refer to but that cannot be imported.
// What is marked @internal is in neither.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const { values: options } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    // For the test of this script: another folder with `packages`.
    root: { type: 'string', default: fileURLToPath(new URL('../', import.meta.url)) },
  },
});
const { root, check: isCheck } = options;
const problems = [];
const undocumented = new Set();

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** The declaration files of a package's entry points, by their subpath. */
function entriesOf(folder) {
  const { exports = {} } = readJson(join(folder, 'package.json'));
  return Object.entries(exports).flatMap(([subpath, target]) =>
    typeof target === 'object' && target.types !== undefined ? [[subpath, join(folder, target.types)]] : [],
  );
}

/** The declaration behind a name, after following the exports and imports that pass it on. */
function resolve(symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** The declarations of a symbol in a package: not those of other packages, nor what it adds to the types of others. */
function declarationsOf(symbol, folder) {
  return (symbol.declarations ?? []).filter((declaration) => {
    const isOwn = declaration.parent?.getSourceFile().fileName.startsWith(join(folder, 'dist/'));
    return isOwn && !ts.isModuleDeclaration(declaration);
  });
}

function isInternal(node) {
  return ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'internal');
}

/** The statement of a declaration: that of a variable is two levels up. */
function statementOf(declaration) {
  return ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
}

function isDocumented(declaration) {
  const hasComment = (node) => ts.getJSDocCommentsAndTags(node).length > 0;
  return hasComment(statementOf(declaration)) || hasComment(declaration);
}

/** Whether others can see a member: it is not private, nor marked @internal. */
function isPublic(member) {
  const isPrivate =
    (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0 ||
    (member.name !== undefined && ts.isPrivateIdentifier(member.name));
  return !isPrivate && !isInternal(member);
}

/** A declaration without what only this repository uses: private and internal members, and interfaces that are not exported. */
function publicPartOf(declaration) {
  if (!ts.isClassDeclaration(declaration)) {
    if (!ts.isInterfaceDeclaration(declaration)) return declaration;
    const { modifiers, name, typeParameters, heritageClauses, members } = declaration;
    return ts.factory.createInterfaceDeclaration(
      modifiers,
      name,
      typeParameters,
      heritageClauses,
      members.filter(isPublic),
    );
  }
  const { modifiers, name, typeParameters, heritageClauses = [], members } = declaration;
  const isSeen = ({ expression }) => {
    const symbol = checker.getSymbolAtLocation(expression);
    return symbol === undefined || allNamed.has(resolve(symbol)) || isGlobal(resolve(symbol));
  };
  const heritage = heritageClauses.flatMap((clause) => {
    const types = clause.token === ts.SyntaxKind.ExtendsKeyword ? clause.types : clause.types.filter(isSeen);
    return types.length === 0 ? [] : [ts.factory.createHeritageClause(clause.token, types)];
  });
  return ts.factory.createClassDeclaration(modifiers, name, typeParameters, heritage, members.filter(isPublic));
}

function isGlobal({ declarations = [] }) {
  return declarations.every((declaration) => declaration.getSourceFile().fileName.includes('/node_modules/'));
}

/** The text of a declaration without its comments. */
function textOf(declaration) {
  const printer = ts.createPrinter({ removeComments: true });
  const statement = publicPartOf(statementOf(declaration));
  return printer.printNode(ts.EmitHint.Unspecified, statement, declaration.getSourceFile());
}

/** Calls back with each type that the public part of a declaration refers to. */
function forEachReference(node, callback) {
  if (ts.isIdentifier(node)) {
    const symbol = checker.getSymbolAtLocation(node);
    if (symbol !== undefined) callback(resolve(symbol));
  }
  node.forEachChild((child) => forEachReference(child, callback));
}

const TOP_LEVEL =
  ts.SymbolFlags.Class |
  ts.SymbolFlags.Interface |
  ts.SymbolFlags.TypeAlias |
  ts.SymbolFlags.Enum |
  ts.SymbolFlags.Variable |
  ts.SymbolFlags.Function;

const NAMED_TYPE = ts.SymbolFlags.Class | ts.SymbolFlags.Interface;

/** The exports of an entry point, by their names. */
function namedBy([, file], folder) {
  const source = program.getSourceFile(file);
  if (source === undefined) throw new Error(`${file} is not there: build first`);
  const named = new Map();
  for (const symbol of checker.getExportsOfModule(checker.getSymbolAtLocation(source))) {
    if (symbol.name === 'module.exports') continue;
    const target = resolve(symbol);
    if (!declarationsOf(target, folder).some(isInternal)) named.set(symbol.name, target);
  }
  return named;
}

/** Adds the types of the package that a symbol refers to and that are not exported, and those that these refer to. */
function addReferences(symbol, folder, others) {
  for (const declaration of declarationsOf(symbol, folder)) {
    forEachReference(publicPartOf(statementOf(declaration)), (other) => {
      const isTopLevel =
        (other.flags & TOP_LEVEL) !== 0 &&
        other.declarations?.some(
          ({ parent }) => parent && (ts.isSourceFile(parent) || ts.isVariableDeclarationList(parent)),
        );
      if (!isTopLevel || other === symbol || others.has(other) || allNamed.has(other)) return;
      if (declarationsOf(other, folder).length === 0) return;
      others.add(other);
      addReferences(other, folder, others);
    });
  }
}

/** Shapes of other libraries, whose own documentation says what the methods do. */
const FOREIGN = [
  'RelaySocket',
  'WebSocketLike',
  'StorageLike',
  'NodeRedisClient',
  'IoRedisClient',
  'FastifyScope',
  'FastifyReply',
  'KoaContext',
];

/** Notes what is public in an export and has no doc comment. */
function checkDocumented(name, symbol, folder) {
  const declarations = declarationsOf(symbol, folder);
  if (declarations.length === 0) return;
  const note = (what, declaration) => {
    const path = declaration.getSourceFile().fileName.slice(root.length);
    undocumented.add(`${path.replace('dist/', 'src/').replace('.d.ts', '.ts')}: ${what} has no doc comment`);
  };
  if (!declarations.some(isDocumented)) note(name, declarations[0]);
  if (FOREIGN.includes(name)) return;
  const members = new Map();
  for (const declaration of declarations) {
    const isOptions = /(Options|Config)$/.test(name);
    if (!ts.isClassDeclaration(declaration) && !ts.isInterfaceDeclaration(declaration)) continue;
    for (const member of declaration.members) {
      if (!isPublic(member) || member.name === undefined || ts.isComputedPropertyName(member.name)) continue;
      const isCallable = ts.isMethodDeclaration(member) || ts.isMethodSignature(member) || ts.isAccessor(member);
      if (!isCallable && !(isOptions && ts.isPropertySignature(member))) continue;
      const text = member.name.getText();
      members.set(text, [...(members.get(text) ?? []), member]);
    }
  }
  for (const [text, ofName] of members) {
    if (!ofName.some(isDocumented) && !isInherited(text, ofName[0].parent)) note(`${name}.${text}`, ofName[0]);
  }
}

/** Whether a class or an interface that a declaration extends or implements documents a member. */
function isInherited(name, { heritageClauses = [] }) {
  return heritageClauses.some(({ types }) =>
    types.some((type) => {
      const member = checker.getTypeAtLocation(type).getProperty(name);
      return member?.declarations?.some(isDocumented) ?? false;
    }),
  );
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
/** What can be imported from any of the packages. */
const allNamed = new Set();
const exportsOf = new Map();
for (const [folder, ofPackage] of entries) {
  for (const entry of ofPackage) {
    const named = namedBy(entry, folder);
    exportsOf.set(entry, named);
    for (const symbol of named.values()) allNamed.add(symbol);
  }
}
if (!isCheck) mkdirSync(join(root, 'api'), { recursive: true });
for (const [folder, ofPackage] of entries) {
  const { name } = readJson(join(folder, 'package.json'));
  const lines = [`# ${name}`, '', 'Written by `npm run api`: the public types. Do not edit.'];
  const others = new Set();
  for (const entry of ofPackage) {
    const named = exportsOf.get(entry);
    for (const [exported, symbol] of named) {
      addReferences(symbol, folder, others);
      checkDocumented(exported, symbol, folder);
    }
    lines.push(...section(`Exports of \`${entry[0]}\``, named, folder));
  }
  for (const other of others) if (other.flags & NAMED_TYPE) checkDocumented(other.name, other, folder);
  const referred = new Map(Array.from(others, (other) => [other.name, other]));
  lines.push(...section('Types that these refer to, and that cannot be imported', referred, folder));
  report(name.replace('@', '').replace('/', '-'), lines);
}
problems.push(...[...undocumented].sort());
for (const problem of problems) process.stderr.write(`${problem}\n`);
if (problems.length > 0) process.exitCode = 1;
