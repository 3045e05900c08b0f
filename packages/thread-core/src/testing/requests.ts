import type { ArcMessage } from '@arc/thread-protocol';
import { InvalidParamsError, InvalidRequestError } from '../protocol/errors.js';
import { isObject } from '../values.js';

/** @internal */
export type Params = Record<string, unknown>;

/** @internal */
export function validate(request: Params): { arc: string; method: string; targetAgent: string; params: Params } {
  const { arc, id, method, requestAgent, targetAgent, params } = request;
  const bad = (field: string): Error => {
    const problem = request[field] === undefined ? 'Missing required field' : 'Invalid field';
    return new InvalidRequestError(`${problem}: ${field}`, { details: { field } });
  };
  if (typeof arc !== 'string') throw bad('arc');
  if (typeof id !== 'string' && typeof id !== 'number') throw bad('id');
  if (typeof method !== 'string') throw bad('method');
  if (typeof requestAgent !== 'string') throw bad('requestAgent');
  if (typeof targetAgent !== 'string') throw bad('targetAgent');
  if (!isObject(params)) throw bad('params');
  return { arc, method, targetAgent, params };
}

/** @internal */
export function stringOf(params: Params, field: string): string {
  const value = params[field];
  if (typeof value !== 'string' || value === '') throw new InvalidParamsError(`params.${field} must be a string`);
  return value;
}

/** @internal */
export function messageOf(params: Params, field: string): ArcMessage {
  const message = params[field];
  if (!isObject(message)) throw new InvalidParamsError(`params.${field} must be an object`);
  const { role, parts } = message;
  if (typeof role !== 'string') throw new InvalidParamsError(`params.${field}.role must be a string`);
  if (!Array.isArray(parts) || !parts.every((part) => isObject(part) && typeof part.type === 'string')) {
    throw new InvalidParamsError(`params.${field}.parts must be an array of parts with a type`);
  }
  return message as ArcMessage;
}
