import { ARC_VERSION, type ArcEnvelope } from '@arc/thread-protocol';
import { InvalidRequestError } from '../protocol/errors.js';
import { hasLoneSurrogate, quote } from '../values.js';
import { factsOf } from './call-errors.js';
import type { CallRequest } from './call-request.js';

/** What every request begins with. */
const BEFORE_ID = `{"arc":"${ARC_VERSION}","id":"`;

/**
 * Writes the body of a request. `requestAgent` is JSON already.
 * @throws InvalidRequestError if it cannot be written as JSON
 */
export function writeRequest(request: CallRequest, id: string, requestAgent: string): string {
  const { method, targetAgent, traceId, params } = request;
  const trace = traceId ? `,"traceId":${quote(traceId)}` : '';
  let text: string;
  try {
    // Piece by piece, because most of them are known to need no escapes.
    text = `${BEFORE_ID}${id}","method":"${method}","requestAgent":${requestAgent},"targetAgent":${quote(targetAgent)}${trace},"params":${JSON.stringify(params)}}`;
  } catch (cause) {
    // Nested too deeply, circular, or a BigInt.
    throw new InvalidRequestError(`${method} cannot be written as JSON`, factsOf(request, cause));
  }
  // Some agents answer it with a bare 500, or not at all.
  if (hasLoneSurrogate(text)) throw new InvalidRequestError(`${method}: must be well-formed Unicode`, factsOf(request));
  return text;
}

/** Whether an envelope has the id of the request with this body. */
export function answersRequest({ id }: ArcEnvelope, body: string): boolean {
  return typeof id === 'string' && body.startsWith(id, BEFORE_ID.length) && body[BEFORE_ID.length + id.length] === '"';
}
