// Fails if the client, with the protocol and minified, is larger than it may be when gzipped.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const MAX_BYTES = 6 * 1024;

const { outputFiles } = await build({
  entryPoints: [new URL('../dist/index.js', import.meta.url).pathname],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  write: false,
});
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
process.stdout.write(`@arc/thread-client is ${bytes} of at most ${MAX_BYTES} bytes, minified and gzipped\n`);
if (bytes > MAX_BYTES) process.exitCode = 1;
