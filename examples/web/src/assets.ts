import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import type { Environment } from './environment.js';

/** An answer with status 200, for any framework to send. */
export interface Asset {
  body: Buffer;
  headers: Readonly<Record<string, string>>;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The import map. It is inline, because browsers support no other. */
const page = readFileSync(new URL('../page/index.html', import.meta.url));
const importMap = /<script type="importmap">(.*?)<\/script>/s.exec(page.toString())?.[1] ?? '';
const importMapHash = createHash('sha256').update(importMap).digest('base64');

/** Nothing but what this server sends; no inline script or style, no frame, and no HTML made from strings. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src 'self' 'sha256-${importMapHash}'`,
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

/** How the page introduces the agents of the example; of any other it knows no more than the id. */
const INTRODUCTIONS: Readonly<Record<string, { name: string; about: string; questions: readonly string[] }>> = {
  support: {
    name: 'Support',
    about: 'Problems and tickets',
    questions: ['My printer is broken', 'What is my ticket?', 'Count slowly to 30', 'Please fail'],
  },
  finance: {
    name: 'Finance',
    about: 'Invoices and totals',
    questions: ['Invoice 17 over 120.50', 'What is the total?'],
  },
  hr: { name: 'HR', about: 'Days of leave', questions: ['How many days are left?', 'Book 3 days off'] },
};

const require = createRequire(import.meta.url);

/** Where the files of an installed package are, and which of its folders the page loads modules from. */
const PACKAGES: Readonly<Record<string, string>> = {
  '@arc/thread-client': 'dist',
  '@arc/thread-protocol': 'dist',
  marked: 'lib',
};

/** The modules of a package for the page, by the path that the import map names. */
function* modulesOf(name: string, folder: string): Generator<[path: string, file: string]> {
  const root = dirname(require.resolve(`${name}/package.json`));
  for (const file of readdirSync(join(root, folder))) {
    if (/\.(js|js\.map)$/.test(file) && !file.includes('umd')) {
      yield [`/lib/${name}/${folder}/${file}`, join(root, folder, file)];
    }
  }
}

function asset(name: string, body: Buffer): Asset {
  return {
    body,
    headers: {
      'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
      'content-security-policy': CONTENT_SECURITY_POLICY,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-cache',
    },
  };
}

/**
 * The chat page: from the path of a request to its answer, or undefined if the page has nothing at that path.
 * All of it is read into memory here, once. With `nodes` it shows the nodes of examples/cluster.
 */
export function pageAssets({
  agents,
  stream,
  nodes = false,
}: Pick<Environment, 'agents' | 'stream'> & { nodes?: boolean }): (path: string) => Asset | undefined {
  const assets = new Map<string, Asset>();
  for (const folder of ['../page/', './page/']) {
    const url = new URL(folder, import.meta.url);
    for (const name of readdirSync(url)) {
      if (/\.(html|css|svg|js|js\.map)$/.test(name))
        assets.set(`/${name}`, asset(name, readFileSync(new URL(name, url))));
    }
  }
  for (const [name, folder] of Object.entries(PACKAGES)) {
    for (const [path, file] of modulesOf(name, folder)) assets.set(path, asset(file, readFileSync(file)));
  }
  const config = {
    agents: agents.map((id) => ({ id, name: id, about: '', questions: [], ...INTRODUCTIONS[id] })),
    stream,
    nodes,
  };
  assets.set('/config.json', asset('config.json', Buffer.from(JSON.stringify(config))));

  return (path) => {
    const pathname = path.split('?', 1)[0];
    return assets.get(pathname === '/' ? '/index.html' : (pathname ?? ''));
  };
}
