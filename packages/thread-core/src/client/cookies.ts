import { isHttpName } from '../values.js';

/** The cookies of one chat. They are sent to no other origin than the one that set them. */
export interface ChatCookies {
  readonly origin: string;
  readonly values: Record<string, string>;
}

/** Which cookies are kept: all, or those with these names. */
export type CookieFilter = true | ReadonlySet<string>;

const MAX_COOKIES = 20;
/** Characters of a name and its value together. */
const MAX_COOKIE_LENGTH = 4096;

const VALUE = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e"]*$/;

/** The value of a `Cookie` header for a request to this origin; undefined if there is nothing to send. */
export function writeCookies(cookies: ChatCookies | undefined, origin: string): string | undefined {
  if (cookies === undefined || cookies.origin !== origin) return undefined;
  const pairs = Object.entries(cookies.values).map(([name, value]) => `${name}=${value}`);
  return pairs.length === 0 ? undefined : pairs.join('; ');
}

/**
 * The cookies of a chat after an answer that sets some. Of their attributes only those that delete a cookie count: what is
 * kept belongs to one chat and one endpoint, and is dropped with the chat.
 */
export function readCookies(
  setCookie: string | string[] | undefined,
  known: ChatCookies | undefined,
  origin: string,
  filter: CookieFilter,
): ChatCookies | undefined {
  if (setCookie === undefined) return known;
  const values: Record<string, string> = Object.assign(
    Object.create(null),
    known?.origin === origin ? known.values : undefined,
  );
  for (const line of Array.isArray(setCookie) ? setCookie : [setCookie]) {
    const [pair = '', ...attributes] = line.split(';');
    const equals = pair.indexOf('=');
    const name = pair.slice(0, Math.max(equals, 0)).trim();
    const value = pair.slice(equals + 1).trim();
    if (!isHttpName(name) || !VALUE.test(value) || (filter !== true && !filter.has(name))) continue;
    if (name.length + value.length > MAX_COOKIE_LENGTH) continue;
    if (attributes.some(isExpired)) delete values[name];
    else if (name in values || Object.keys(values).length < MAX_COOKIES) values[name] = value;
  }
  return { origin, values };
}

function isExpired(attribute: string): boolean {
  const [name = '', value = ''] = attribute.split('=').map((part) => part.trim());
  if (/^max-age$/i.test(name)) return Number(value) <= 0;
  return /^expires$/i.test(name) && Date.parse(value) <= Date.now();
}
