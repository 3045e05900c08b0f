import type { IncomingMessage } from 'node:http';

/** Headers that have the same value for many clients. Not the protocols that are offered: a ticket may be among them. */
const COMMON_HEADERS = new Set([
  'accept-encoding',
  'accept-language',
  'cache-control',
  'connection',
  'host',
  'origin',
  'pragma',
  'sec-websocket-extensions',
  'sec-websocket-version',
  'upgrade',
  'user-agent',
]);

/** Bounds of the table: clients may send any text. */
const MAX_TEXTS = 1000;
const MAX_LENGTH = 256;

/** Names and values of headers, each once. */
const texts = new Map<string, string>();

function shared(text: string): string {
  const known = texts.get(text);
  if (known !== undefined) return known;
  if (texts.size < MAX_TEXTS && text.length <= MAX_LENGTH) texts.set(text, text);
  return text;
}

/**
 * Makes requests share the texts of their headers. Node creates new strings for each request, and a session keeps its
 * request: they would be a tenth of the memory of an idle connection.
 */
export function internHeaders({
  rawHeaders = [],
  headers,
}: Partial<Pick<IncomingMessage, 'rawHeaders'>> & Pick<IncomingMessage, 'headers'>): void {
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = shared(rawHeaders[index] as string);
    rawHeaders[index] = name;
    const field = name.toLowerCase();
    if (!COMMON_HEADERS.has(field)) continue;
    const value = shared(rawHeaders[index + 1] as string);
    rawHeaders[index + 1] = value;
    if (headers[field] === value) headers[field] = value;
  }
}
