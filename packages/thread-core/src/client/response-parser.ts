import { ARC_VERSION, type ArcEnvelope } from '@arc/thread-protocol';
import { type Bytes, decode, encode, readBytes } from '../bytes.js';
import { isTooDeep, TOO_DEEP } from '../json-text.js';
import { type ArcError, readAgentError } from '../protocol/errors.js';
import { type CallFacts, notArc, unsupportedVersion } from './call-errors.js';
import { hasNonFinite, replaceNonFinite } from './non-finite.js';

/** An answer that is not a stream. */
export type ParsedResponse = {
  /** The agent's own text. */
  readonly text: Bytes;
  /** `NaN` or `Infinity` were replaced by null. */
  readonly hadNonFinite: boolean;
} & (
  | { readonly envelope: ArcEnvelope; readonly error: undefined }
  /** The agent's error, or why this is no answer. */
  | { readonly envelope: ArcEnvelope | undefined; readonly error: ArcError }
);

/** The byte order mark, with which a text may begin without it being a part of it. */
const BOM = encode('\ufeff');

const CHARSET = /;\s*charset\s*=\s*"?([^\s;"]+)/i;
const IS_UTF8 = /^(?:utf-?8|us-ascii)$/i;
const SUPPORTED_VERSION = /^1(?:\.|$)/;

/**
 * Reads the body of an answer. JSON is UTF-8, but an answer may declare another charset. `about` gives the context of an
 * error; it is called only if there is one.
 */
export function parseResponse(body: Buffer, contentType: string, about: () => CallFacts): ParsedResponse {
  const charset = (contentType.includes(';') ? CHARSET.exec(contentType)?.[1] : undefined) ?? 'utf-8';
  const bytes = IS_UTF8.test(charset) ? readBytes(body) : transcode(body, charset);
  if (bytes === undefined) {
    const error = notArc(about(), `text that is not ${charset.slice(0, 40)}, as it says`);
    return { text: encode(''), envelope: undefined, error, hadNonFinite: false };
  }
  let text = bytes.startsWith(BOM) ? (bytes.slice(BOM.length) as Bytes) : bytes;
  const decoded = decode(text);
  if (isTooDeep(decoded))
    return { text, envelope: undefined, error: notArc(about(), `JSON that is ${TOO_DEEP}`), hadNonFinite: false };
  let envelope = parseEnvelope(decoded);
  const hadNonFinite = envelope === undefined && hasNonFinite(decoded);
  if (hadNonFinite) {
    const repaired = replaceNonFinite(decoded);
    text = encode(repaired);
    envelope = parseEnvelope(repaired);
  }
  if (envelope === undefined) {
    const what = body.length === 0 ? 'an empty answer' : contentType || 'no content type';
    return { text, envelope, error: notArc(about(), what), hadNonFinite };
  }
  const error = findError(envelope, about);
  return error === undefined ? { text, envelope, error, hadNonFinite } : { text, envelope, error, hadNonFinite };
}

function findError(envelope: ArcEnvelope, about: () => CallFacts): ArcError | undefined {
  if (envelope.arc !== ARC_VERSION && !SUPPORTED_VERSION.test(envelope.arc))
    return unsupportedVersion(about(), envelope.arc);
  if (envelope.error != null) return readAgentError(envelope.error, about());
  return envelope.result == null ? notArc(about(), 'neither result nor error') : undefined;
}

/** Undefined if the charset is not known, or the bytes are not valid in it. */
function transcode(body: Buffer, charset: string): Bytes | undefined {
  try {
    return encode(new TextDecoder(charset, { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
}

function parseEnvelope(text: string): ArcEnvelope | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isEnvelope = typeof value === 'object' && value !== null && 'arc' in value && typeof value.arc === 'string';
    return isEnvelope ? (value as ArcEnvelope) : undefined;
  } catch {
    return undefined;
  }
}
