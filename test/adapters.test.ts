import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';

const packages = new URL('../packages/', import.meta.url);

/** What would be a decision of the adapter's own about frames, codes and time. */
const DECISIONS: Record<string, RegExp> = {
  'a close code': /\b(1[0-9]{3}|4[0-9]{3})\b/,
  'an error code': /-\d{2}_?\d{3}\b/,
  'a frame': /\.send\(\s*[`'"]\{|JSON\.stringify/,
  'a timer': /\bset(Timeout|Interval)\b|node:timers/,
  'a ping': /\.ping\(/,
};

t.test('adapters contain no frames and no close codes [S-6]', async (t) => {
  const adapters = readdirSync(packages).filter((name) => name.endsWith('-arc'));
  t.strictSame(adapters, ['express-arc', 'fastify-arc', 'koa-arc']);
  for (const adapter of adapters) {
    const folder = new URL(`${adapter}/src/`, packages);
    const source = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), 'utf8'));
    for (const [what, pattern] of Object.entries(DECISIONS))
      t.notMatch(source.join('\n'), pattern, `${adapter}: ${what}`);
  }
});
