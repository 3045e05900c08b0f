import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

/** The machine and the versions of a run. */
export interface Machine {
  date: string;
  cpu: string;
  cores: number;
  memory: string;
  system: string;
  node: string;
  /** Load average of the minute before the run. */
  load: number;
  versions: Record<string, string>;
}

const PACKAGES = [
  ...['@arc/thread-core', 'fastify-arc', 'express-arc', 'koa-arc', 'ws', 'undici', 'fastify'],
  ...['@fastify/websocket', 'express', 'express-ws', 'koa', 'koa-easy-ws'],
];

export function describeMachine(): Machine {
  const [cpu] = os.cpus();
  return {
    date: new Date().toISOString(),
    cpu: cpu?.model ?? 'unknown',
    cores: os.cpus().length,
    memory: `${Math.round(os.totalmem() / 1024 ** 3)} GiB`,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    load: os.loadavg()[0] ?? 0,
    versions: Object.fromEntries(PACKAGES.map((name) => [name, versionOf(name)])),
  };
}

/** Not every package exports its package.json, so this searches the folders that Node would search. */
function versionOf(name: string): string {
  for (const folder of createRequire(import.meta.url).resolve.paths(name) ?? []) {
    try {
      return (JSON.parse(readFileSync(path.join(folder, name, 'package.json'), 'utf8')) as { version: string }).version;
    } catch {}
  }
  return 'unknown';
}
