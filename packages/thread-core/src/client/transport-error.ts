/** Descriptions of the codes of Node, OpenSSL and undici. They name no address. */
const REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
  ENOTFOUND: 'host name not found',
  EAI_AGAIN: 'host name could not be looked up',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ETIMEDOUT: 'connecting took too long',
  UND_ERR_CONNECT_TIMEOUT: 'connecting took too long',
  UND_ERR_SOCKET: 'connection closed',
  UND_ERR_DESTROYED: 'the client is closed',
  UND_ERR_CLOSED: 'the client is closed',
  UND_ERR_HEADERS_OVERFLOW: 'its headers are too large',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'its content-length is wrong',
  UND_ERR_INVALID_ARG: 'a header cannot be sent',
  UND_ERR_ABORTED: 'the proxy refused the connection',
};

/** Codes of Node and OpenSSL for a TLS handshake that failed. */
const TLS = /^ERR_TLS|^ERR_SSL|^EPROTO$|CERT|SIGNATURE/;

/** Codes of errors that tell of this side, not of the endpoint. */
const OWN = new Set([
  '',
  'ARC_NOT_OWNER',
  'UND_ERR_DESTROYED',
  'UND_ERR_CLOSED',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_HEADERS_OVERFLOW',
]);

/** Codes of failures that may be over a moment later. */
const PASSING = new Set([
  'ARC_NOT_OWNER',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_SOCKET',
]);

/** Nothing was written, because another process may own the session by now. */
export class NotOwnerError extends Error {
  readonly code = 'ARC_NOT_OWNER';
}

/** Describes a failure of the transport: `connection refused (ECONNREFUSED)`. */
export function describeTransportError(error: unknown): string {
  // An AggregateError of all the addresses of a name has its own code, and no message.
  const code = codeOf(error);
  if (isNotHttp(error)) return 'its answer is not HTTP';
  if (code === '') return 'the connection failed';
  return `${REASONS[code] ?? (TLS.test(code) ? 'TLS failed' : 'the connection failed')} (${code})`;
}

/** Errors of calls of which no byte was written. */
const neverSent = new WeakSet<Error>();

/** Notes that the call that failed with this error never reached the agent: no byte of its last attempt was written. */
export function markNeverSent(error: Error): void {
  neverSent.add(error);
}

/**
 * Whether a call failed with this error before a byte of it was written, so that nothing reached the agent. Decided by what
 * was written, not by the code of the error: the same code may come before and after.
 */
export function wasNeverSent(error: unknown): boolean {
  return error instanceof Error && neverSent.has(error);
}

/** Of what is no HTTP, undici keeps the bytes in its error: an answer to this user, or to another. None of it is to be logged. */
export function dropBytes(error: unknown): unknown {
  if (isNotHttp(error)) delete (error as { data?: unknown }).data;
  return error;
}

/** Whether a retry may help. Whether it is safe depends on what was written when the error came. */
export function isPassing(error: unknown): boolean {
  return PASSING.has(codeOf(error));
}

/** Whether the endpoint is the cause, and not this side or its limits. */
export function isOfEndpoint(error: unknown): boolean {
  return isNotHttp(error) || !OWN.has(codeOf(error));
}

/** Whether an error of undici's says that its dispatcher takes no more requests. */
export function isClientClosed(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED';
}

function isNotHttp(error: unknown): boolean {
  return error instanceof Error && error.name === 'HTTPParserError';
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null | undefined)?.code ?? '');
}
