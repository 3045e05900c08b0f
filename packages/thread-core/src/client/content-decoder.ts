import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';

/** What an answer may be compressed with, by the name in `content-encoding`. */
const DECODERS: Record<string, (first: Buffer) => Transform> = {
  gzip: () => zlib.createGunzip(),
  'x-gzip': () => zlib.createGunzip(),
  // Some servers mean zlib by it, as the standard does, and others a bare deflate stream.
  deflate: (first) => (((first[0] ?? 0) & 0x0f) === 8 ? zlib.createInflate() : zlib.createInflateRaw()),
  br: () => zlib.createBrotliDecompress(),
};

/**
 * A window of 8 MiB is all that an answer may need (RFC 9659). Node lets each decoder take up to 128 MiB, and an agent can have many
 * streams.
 */
const ZSTD_WINDOW_LOG = 23;

// Node 20 has none.
const createZstd: unknown = Reflect.get(zlib, 'createZstdDecompress');
if (typeof createZstd === 'function') {
  const params = { [Number(Reflect.get(zlib.constants, 'ZSTD_d_windowLogMax'))]: ZSTD_WINDOW_LOG };
  DECODERS.zstd = () => createZstd({ params }) as Transform;
}

/** The name of an encoding in lower case; empty if an answer is not compressed. */
export function readContentEncoding(header: string | string[] | undefined): string {
  const encoding = String(header ?? '')
    .trim()
    .toLowerCase();
  return encoding === 'identity' ? '' : encoding;
}

export function canDecode(encoding: string): boolean {
  return Object.hasOwn(DECODERS, encoding);
}

/** Makes a decoder. `first` is the first chunk of the answer: it shows which variant of an encoding is used. */
export function createDecoder(encoding: string, first: Buffer): Transform {
  const create = DECODERS[encoding];
  if (create === undefined) throw new TypeError(`unknown content encoding ${encoding}`);
  return create(first);
}
