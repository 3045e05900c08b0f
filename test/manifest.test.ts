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

t.test('each sentence of the lists and tables has an id, and one alone', async (t) => {
  t.strictSame([...protocol.problems, ...architecture.problems], []);
  t.strictSame(
    given.filter((id, index) => given.indexOf(id) !== index),
    [],
    'ids that are given twice',
  );
  const mentions = [...mentionsOf('PROTOCOL.md'), ...mentionsOf('ARCHITECTURE.md')];
  t.strictSame(
    mentions.filter((id) => !given.includes(id)),
    [],
    'ids that are spoken of, and never given',
  );
  // A reader that finds nothing would find nothing wrong.
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

t.test('tests cite ids that there are, in their titles', async (t) => {
  t.strictSame(
    citations.filter(({ id }) => !given.includes(id)).map(({ id, file, title }) => `${id} in ${file}: ${title}`),
    [],
  );
  t.strictSame(
    tests.flatMap(({ elsewhere }) => elsewhere),
    [],
    'ids that no title prints',
  );
});

t.test('test/MANIFEST.md lists what is so', async (t) => {
  const text = render(requirements, citations);
  // It is written wherever somebody works, and has to come with the commit.
  if (process.env.CI !== 'true') writeFileSync(FILE, text);
  t.equal(existsSync(FILE) ? readFileSync(FILE, 'utf8') : '', text, 'running this test without CI=true writes it anew');
});
