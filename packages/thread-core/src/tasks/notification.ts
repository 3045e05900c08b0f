import { ARC_VERSION, type TaskNotification } from '@arc/thread-protocol';
import { isTooDeep, TOO_DEEP } from '../json-text.js';
import { InvalidRequestError, ParseError, UnsupportedVersionError } from '../protocol/errors.js';
import { isObject } from '../values.js';

const METHOD = 'task.notification';

/** A notification, and its ARC request; undefined if it was posted without an envelope. */
export interface ReadNotification {
  notification: TaskNotification;
  request: { id: string | number; requestAgent: string; targetAgent: string; traceId: string | undefined } | undefined;
}

/**
 * Reads a notification in either of its forms: the params of an ARC request, or all fields side by side, as the Python
 * SDK posts them.
 * @throws ArcError that names what is wrong
 */
export function readNotification(body: string): ReadNotification {
  const payload = parse(body);
  if (payload.arc !== ARC_VERSION) throw new UnsupportedVersionError(`ARC ${show(payload.arc)} is not supported`);
  if (payload.method !== METHOD) throw new InvalidRequestError(`method: must be ${METHOD}`);
  const isRequest = isObject(payload.params);
  const fields = isRequest ? (payload.params as Record<string, unknown>) : payload;
  const notification: TaskNotification = {
    taskId: requiredText(fields, 'taskId'),
    event: requiredText(fields, 'event'),
    data: isObject(fields.data) ? fields.data : {},
    ...optionalText(fields, 'timestamp'),
    ...optionalText(fields, 'subscriptionId'),
    ...optionalText(payload, 'requestAgent'),
    ...optionalText(payload, 'traceId'),
  };
  if (!isRequest) return { notification, request: undefined };
  const { id, targetAgent, requestAgent } = payload;
  if (typeof id !== 'string' && typeof id !== 'number') throw new InvalidRequestError('id: must be a string');
  const request = {
    id,
    requestAgent: typeof requestAgent === 'string' ? requestAgent : 'unknown',
    targetAgent: typeof targetAgent === 'string' ? targetAgent : 'unknown',
    traceId: notification.traceId,
  };
  return { notification, request };
}

/** A version from a request, cut for an error message: it may be long, or no text at all. */
function show(version: unknown): string {
  return typeof version === 'string' ? JSON.stringify(version.slice(0, 20)) : 'without a version';
}

function parse(body: string): Record<string, unknown> {
  if (isTooDeep(body)) throw new InvalidRequestError(`The notification is ${TOO_DEEP}`);
  let payload: unknown;
  try {
    payload = JSON.parse(body);
  } catch {
    throw new ParseError('The notification is not JSON');
  }
  if (!isObject(payload)) throw new InvalidRequestError('The notification must be a JSON object');
  return payload;
}

function requiredText(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string' || value === '') throw new InvalidRequestError(`${name}: must be a non-empty string`);
  return value;
}

function optionalText<Name extends string>(fields: Record<string, unknown>, name: Name): { [key in Name]?: string } {
  const value = fields[name];
  return typeof value === 'string' && value !== '' ? ({ [name]: value } as { [key in Name]?: string }) : {};
}
