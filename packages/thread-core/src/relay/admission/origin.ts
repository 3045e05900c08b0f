import type { IncomingMessage } from 'node:http';
import { rejectPromise } from '../../values.js';

/** Returns `true` to accept a page of that origin. */
export type OriginCheck = (origin: string, request: IncomingMessage) => boolean;

/**
 * The host that a client asked for: the Host header, or the first X-Forwarded-Host if the proxy in front is trusted.
 */
export function requestedHost({ headers }: IncomingMessage, trustProxy: boolean): string | undefined {
  const forwarded = trustProxy ? [headers['x-forwarded-host']].flat()[0]?.split(',', 1)[0]?.trim() : undefined;
  return forwarded || headers.host;
}

/** Whether a Host header is in the list: a name without a port stands for every port. */
export function isHostAllowed(host: string | undefined, allowed: readonly string[]): boolean {
  if (host === undefined) return false;
  const named = host.toLowerCase();
  const name = named.replace(/:\d+$/, '');
  return allowed.some((other) => other.toLowerCase() === named || other.toLowerCase() === name);
}

/**
 * Whether the page that opens the connection may do so. Programs send no Origin, and are accepted. A list adds to the
 * server's own origin, which is that of `host`; a function decides alone. What cannot be parsed is refused.
 */
export function isOriginAllowed(
  request: IncomingMessage,
  allowed: readonly string[] | OriginCheck | undefined,
  host: string | undefined,
): boolean {
  const { origin } = request.headers;
  if (origin === undefined) return true;
  if (typeof allowed === 'function') return rejectPromise(allowed(origin, request), 'allowedOrigins') === true;
  const page = parseOrigin(origin);
  if (page === undefined) return false;
  if (allowed?.some((other) => parseOrigin(other) === page)) return true;
  const { protocol, host: pageHost } = new URL(origin);
  if (protocol !== 'http:' && protocol !== 'https:') return false;
  // The scheme that the client used is not known behind a proxy: host and port are what is compared.
  const own = `${protocol}//${host}`;
  return URL.canParse(own) && new URL(own).host === pageHost;
}

/** The origin in one spelling; undefined if it is none. Apps in a web view have schemes of their own. */
export function parseOrigin(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { origin, protocol, host } = new URL(text);
  if (origin !== 'null') return origin;
  return host === '' ? undefined : `${protocol}//${host}`;
}
