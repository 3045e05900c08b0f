import type { IncomingMessage } from 'node:http';
import { isHttpName } from '../../values.js';
import type { HttpAnswer } from './handshake.js';

/** Base64 of 16 bytes. */
const KEY = /^[+/\dA-Za-z]{22}==$/;

/**
 * The answer to an upgrade whose handshake ws would refuse (RFC 6455, 4.2.1). This is checked before the request is
 * authenticated and accepted, so that an access log has the status that the client gets.
 */
export function handshakeProblem({ method, headers }: IncomingMessage): HttpAnswer | undefined {
  const problem = (status: number, error: string, more = {}): HttpAnswer => ({
    status,
    headers: { connection: 'close', ...more },
    body: { error },
  });
  if (method !== undefined && method !== 'GET') return problem(405, 'A WebSocket handshake is a GET');
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) return problem(400, 'Sec-WebSocket-Key: missing or invalid');
  // A request that a test injects may have a number here.
  if (![13, 8].includes(Number(headers['sec-websocket-version']))) {
    return problem(426, 'Sec-WebSocket-Version: missing or invalid', { 'sec-websocket-version': '13, 8' });
  }
  const names = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? [];
  if (names.some((name) => !isHttpName(name)) || new Set(names).size < names.length) {
    return problem(400, 'Sec-WebSocket-Protocol: invalid');
  }
  return undefined;
}
