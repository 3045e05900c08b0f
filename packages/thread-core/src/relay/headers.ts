import type { IncomingMessage } from 'node:http';

/** Fields of which most clients say the same, or each user of one browser does. */
const ALIKE = new Set([
  'accept-encoding',
  'accept-language',
  'cache-control',
  'connection',
  'host',
  'origin',
  'pragma',
  'sec-websocket-extensions',
  'sec-websocket-protocol',
  'sec-websocket-version',
  'upgrade',
  'user-agent',
]);

/** So many texts are kept, of so many characters at most: clients may make them up. */
const MOST = 1000;
const LONGEST = 256;

/** Names and values of headers, each once. */
const texts = new Map<string, string>();

function shared(text: string): string {
  const known = texts.get(text);
  if (known !== undefined) return known;
  if (texts.size < MOST && text.length <= LONGEST) texts.set(text, text);
  return text;
}

/**
 * Has requests share the texts of their headers. Node makes new ones for each, and a session keeps its request: of an
 * idle connection they would be a tenth of all that there is.
 */
export function internHeaders({
  rawHeaders = [],
  headers,
}: Partial<Pick<IncomingMessage, 'rawHeaders'>> & Pick<IncomingMessage, 'headers'>): void {
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = shared(rawHeaders[index] as string);
    rawHeaders[index] = name;
    const field = name.toLowerCase();
    if (!ALIKE.has(field)) continue;
    const value = shared(rawHeaders[index + 1] as string);
    rawHeaders[index + 1] = value;
    if (headers[field] === value) headers[field] = value;
  }
}
