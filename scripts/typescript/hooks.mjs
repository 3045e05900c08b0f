// Module hooks: a process runs the tests' TypeScript as it was emitted, and a package's sources as they were built.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { emit, root } from './emit.mjs';

const isOurs = (url) =>
  url.startsWith('file:') && url.includes('/node_modules/') === false && fileURLToPath(url).startsWith(root);

/** Where a relative specifier leads to: to dist for sources, and to TypeScript for other files of ours. */
export function redirect(specifier, parentURL) {
  if (!specifier.startsWith('.') || parentURL === undefined || !isOurs(parentURL)) return undefined;
  const { href } = new URL(specifier, parentURL);
  const source = /^(.*\/(?:packages|examples)\/[^/]+)\/src\/(.*)\.js$/.exec(href);
  if (source !== null) return `${source[1]}/dist/${source[2]}.js`;
  if (!href.endsWith('.js') || existsSync(fileURLToPath(href))) return undefined;
  const base = href.slice(0, -'.js'.length);
  return [`${base}.ts`, `${base}.tsx`].find((url) => existsSync(fileURLToPath(url)));
}

const isTypeScript = (url) => /\.tsx?$/.test(url) && isOurs(url);

/** In place of tap's way to find the test that an error belongs to. */
const domain = new URL('domain.mjs', import.meta.url).href;

export function resolve(specifier, context, nextResolve) {
  if (specifier === 'async-hook-domain') return { url: domain, format: 'module', shortCircuit: true };
  const url = redirect(specifier, context.parentURL);
  return url === undefined ? nextResolve(specifier, context) : { url, format: 'module', shortCircuit: true };
}

export function load(url, context, nextLoad) {
  if (!isTypeScript(url)) return nextLoad(url, context);
  return { format: 'module', source: emit(fileURLToPath(url)), shortCircuit: true };
}
