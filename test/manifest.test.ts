import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { mentionsOf, readDocument, readTests, render, testFiles } from './manifest/manifest.js';

const FILE = new URL('MANIFEST.md', import.meta.url);

const protocol = readDocument('PROTOCOL.md', '## 2. The connection');
const architecture = readDocument('ARCHITECTURE.md', '## Invariants', '## Upgrades');
const requirements = [...protocol.requirements, ...architecture.requirements];
const given = requirements.map(({ id }) => id);
const tests = testFiles().map(readTests);
const citations = tests.flatMap(({ citations }) => citations);
const cited = new Set(citations.map(({ id }) => id));

t.test('each sentence of the lists and tables has one id of its own', async (t) => {
  t.strictSame([...protocol.problems, ...architecture.problems], []);
  t.strictSame(
    given.filter((id, index) => given.indexOf(id) !== index),
    [],
    'duplicate ids',
  );
  const mentions = [...mentionsOf('PROTOCOL.md'), ...mentionsOf('ARCHITECTURE.md')];
  t.strictSame(
    mentions.filter((id) => !given.includes(id)),
    [],
    'ids that are mentioned but not given',
  );
  // A reader that finds no ids would find no errors either.
  for (const [kind, least] of Object.entries({ F: 100, T: 20, S: 15 })) {
    t.ok(given.filter((id) => id.startsWith(kind)).length >= least, `${kind}-…`);
  }
});

t.test('each id is cited in the title of a test', async (t) => {
  t.strictSame(
    requirements.filter(({ id }) => !cited.has(id)).map(({ id, text }) => `${id}: ${text}`),
    [],
  );
});

t.test('tests cite existing ids, in their titles', async (t) => {
  t.strictSame(
    citations.filter(({ id }) => !given.includes(id)).map(({ id, file, title }) => `${id} in ${file}: ${title}`),
    [],
  );
  t.strictSame(
    tests.flatMap(({ elsewhere }) => elsewhere),
    [],
    'ids outside of titles',
  );
});

t.test('test/MANIFEST.md is up to date', async (t) => {
  const text = render(requirements, citations);
  // Outside of CI the file is rewritten. Commit it.
  if (process.env.CI !== 'true') writeFileSync(FILE, text);
  t.equal(existsSync(FILE) ? readFileSync(FILE, 'utf8') : '', text, 'running this test without CI=true rewrites it');
});
