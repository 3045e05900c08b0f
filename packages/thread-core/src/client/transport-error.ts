/** What the codes of Node, OpenSSL and undici mean, in words that name no address. */
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
};

/** The codes of Node and OpenSSL for a connection that could not be made private. */
const TLS = /^ERR_TLS|^ERR_SSL|^EPROTO$|CERT|SIGNATURE/;

/** Those of a connection that was not made at all. */
const NEVER_CONNECTED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'ERR_CIRCUIT_OPEN',
]);

/** Those that tell of this side, not of the agent's. */
const OWN = new Set(['', 'UND_ERR_DESTROYED', 'UND_ERR_CLOSED', 'UND_ERR_INVALID_ARG', 'UND_ERR_HEADERS_OVERFLOW']);

/** Those that may be over a moment later. */
const PASSING = new Set([
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

/** Describes a failure of the transport: `connection refused (ECONNREFUSED)`. */
export function describeTransportError(error: unknown): string {
  // An AggregateError of all the addresses of a name has its own code, and no message.
  const code = codeOf(error);
  if (isNotHttp(error)) return 'its answer is not HTTP';
  if (code === '') return 'the connection failed';
  return `${REASONS[code] ?? (TLS.test(code) ? 'TLS failed' : 'the connection failed')} (${code})`;
}

/** Whether an error of the transport says that no connection was made, so that nothing reached the agent. */
export function wasNeverSent(error: unknown): boolean {
  const code = codeOf(error);
  return NEVER_CONNECTED.has(code) || TLS.test(code) || isClientClosed(error);
}

/** Whether sending again may help; whether it is safe, too, depends on what was sent when the error came. */
export function isPassing(error: unknown): boolean {
  return PASSING.has(codeOf(error));
}

/** Whether the endpoint is to blame, and not this side or its limits. */
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
