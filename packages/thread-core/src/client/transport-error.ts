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
  EPROTO: 'TLS failed',
};

/** Describes a failure of the transport: `connection refused (ECONNREFUSED)`. */
export function describeTransportError(error: unknown): string {
  const { name, code: given } = (error ?? {}) as { name?: unknown; code?: unknown };
  // An AggregateError of all the addresses of a name has its own code, and no message.
  const code = String(given ?? '');
  if (name === 'HTTPParserError') return 'its answer is not HTTP';
  if (code === '') return 'the connection failed';
  if (code.startsWith('ERR_TLS') || code.startsWith('ERR_SSL') || code.includes('CERT') || code.includes('SIGNATURE')) {
    return `TLS failed (${code})`;
  }
  return `${REASONS[code] ?? 'the connection failed'} (${code})`;
}
