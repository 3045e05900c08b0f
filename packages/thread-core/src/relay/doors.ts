import type { IncomingMessage } from 'node:http';

/** Why a connection is not let in: an HTTP status before the upgrade, or a close code after it. */
export interface Refusal {
  status: number;
  closeCode: number;
  message: string;
}

/** Whom a connection belongs to, or why it is not let in. */
export type Admission = { identity: unknown } | { refused: Refusal };

/** `true` lets a browser's page of that origin in. */
export type OriginCheck = (origin: string, request: IncomingMessage) => boolean;

/**
 * Whether the page that opens the connection may. Programs send no Origin, and are let in. A list adds to the
 * server's own origin; a function decides alone. What cannot be parsed is denied.
 */
export function isOriginAllowed(
  request: IncomingMessage,
  allowed: readonly string[] | OriginCheck | undefined,
): boolean {
  const { origin } = request.headers;
  if (origin === undefined) return true;
  if (typeof allowed === 'function') return allowed(origin, request) === true;
  if (!URL.canParse(origin)) return false;
  const page = new URL(origin);
  if (allowed?.some((other) => URL.canParse(other) && new URL(other).origin === page.origin))
    return page.origin !== 'null';
  // The scheme of the server's own origin is not known behind a proxy: host and port are what is compared.
  const own = `${page.protocol}//${request.headers.host}`;
  return URL.canParse(own) && new URL(own).host === page.host && page.host !== '';
}

const CLOSE_CODES: Record<number, number> = { 401: 4401, 403: 4403, 503: 1013 };

export function refusal(status: number, message: string): Refusal {
  return { status, closeCode: CLOSE_CODES[status] ?? (status < 500 ? 4401 : 1011), message };
}
