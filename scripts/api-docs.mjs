// Writes the API reference as Markdown to api/reference/, a file for each entry point: `npm run api:docs`. It is made of the doc
// comments by TypeDoc and is not committed: it is 400 kB that change with each comment. What a review needs to see, the
// types, is in api/*.md; that nothing is undocumented is checked there, too (api-report.mjs).
//
// Exits with 1 where TypeDoc warns, for example of a link to nothing.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, Converter } from 'typedoc';

const root = fileURLToPath(new URL('../', import.meta.url));

/** The source of each entry point of the public packages, and the name that it is imported by. */
const names = new Map();
for (const folder of readdirSync(join(root, 'packages'))) {
  const {
    name,
    exports = {},
    ...manifest
  } = JSON.parse(readFileSync(join(root, 'packages', folder, 'package.json'), 'utf8'));
  if (manifest.private === true) continue;
  for (const [subpath, { types }] of Object.entries(exports)) {
    if (types === undefined) continue;
    const source = types.replace('./dist/', './src/').replace(/\.d\.ts$/, '.ts');
    names.set(join(root, 'packages', folder, source), join(name, subpath));
  }
}

const app = await Application.bootstrapWithPlugins({
  plugin: ['typedoc-plugin-markdown'],
  entryPoints: [...names.keys()],
  tsconfig: join(root, 'tsconfig.json'),
  name: 'API reference',
  readme: 'none',
  outputs: [{ name: 'markdown', path: join(root, 'api/reference') }],
  router: 'module',
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableSources: true,
  hidePageHeader: true,
  sort: ['source-order'],
  treatWarningsAsErrors: true,
  // Types that are named for reading only: they are in the reports, and need not be imported.
  validation: { notExported: false, invalidLink: true, notDocumented: false },
});
app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
  const [declaration] = context.getSymbolFromReflection(reflection)?.declarations ?? [];
  const name = reflection.parent?.isProject() ? names.get(declaration?.getSourceFile().fileName) : undefined;
  if (name !== undefined) reflection.name = name;
});
const project = await app.convert();
if (project !== undefined) app.validate(project);
if (project !== undefined) await app.generateOutputs(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exitCode = 1;
