import { readdir, readFile } from 'node:fs/promises';
import { RedisServer } from '@arc/test-client';
import t from 'tap';
import { scripts } from '../src/scripts/index.js';
import { clients } from './clients.js';

/** Options that stand in calls beside their commands, by the command. */
const OPTIONS: Record<string, string[]> = {
  ZADD: ['XX', 'NX', 'LT'],
  XTRIM: ['MINID'],
  XREAD: ['COUNT', 'BLOCK'],
  XRANGE: ['COUNT'],
  ZRANGEBYSCORE: ['LIMIT'],
};

interface Documented {
  since: string;
  arguments: { token?: string; since?: string; arguments?: Documented['arguments'] }[];
}

function isOldEnough(since: string): boolean {
  const [major = 0, minor = 0] = since.split('.').map(Number);
  return major < 6 || (major === 6 && minor <= 2);
}

/** RESP2 has arrays where there are maps. */
function toObject(reply: unknown): unknown {
  if (!Array.isArray(reply)) return reply;
  if (
    reply.length > 0 &&
    reply.length % 2 === 0 &&
    reply.every((item, at) => at % 2 === 1 || typeof item === 'string')
  ) {
    return Object.fromEntries(
      Array.from({ length: reply.length / 2 }, (_, at) => [reply[at * 2], toObject(reply[at * 2 + 1])]),
    );
  }
  return reply.map(toObject);
}

function sinceOf(args: Documented['arguments'], token: string): string | undefined {
  for (const arg of args) {
    if (arg.token === token) return arg.since ?? '1.0.0';
    const inner = Array.isArray(arg.arguments) ? sinceOf(arg.arguments, token) : undefined;
    if (inner !== undefined) return arg.since ?? inner;
  }
  return undefined;
}

t.test('all commands, and their options, are those of Redis 6.2', async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());
  const { command, close } = await (clients['ioredis 6'] as (typeof clients)[string])(server.url);
  t.teardown(close);

  const used = new Set<string>();
  for (const { source } of Object.values(scripts)) {
    for (const [, name = ''] of source.matchAll(/redis\.p?call\('([A-Z]+)'/g)) used.add(name);
    t.equal(source.match(/redis\.p?call\(/g)?.length, source.match(/redis\.p?call\('[A-Z]+'/g)?.length);
  }
  const folder = new URL('../src/', import.meta.url);
  for (const file of await readdir(folder)) {
    if (!file.endsWith('.ts')) continue;
    const source = await readFile(new URL(file, folder), 'utf8');
    for (const [, name = ''] of source.matchAll(/'(EVAL|EVALSHA|INFO|X[A-Z]+)'/g)) used.add(name);
  }
  t.ok(['EVALSHA', 'EVAL', 'INFO', 'XADD', 'XREAD', 'XTRIM', 'ZADD', 'HSET', 'TIME'].every((name) => used.has(name)));

  for (const name of used) {
    const docs = toObject(await command('COMMAND', 'DOCS', name)) as Record<string, { since: string }>;
    const { since } = docs[name.toLowerCase()] as { since: string };
    t.ok(isOldEnough(since), `${name} is in Redis since ${since}`);
  }
  for (const [name, tokens] of Object.entries(OPTIONS)) {
    const reply = (await command('COMMAND', 'DOCS', name)) as [string, unknown[]];
    const fields = reply[1];
    const args = fields[fields.indexOf('arguments') + 1] as unknown[];
    const documented = args.map(toObject) as Documented['arguments'];
    for (const token of tokens) {
      const since = sinceOf(documented, token);
      t.ok(since !== undefined && isOldEnough(since), `${name} ${token} is in Redis since ${since}`);
    }
  }
});
