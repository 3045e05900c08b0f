import { FencedError, StoreError } from '@arc/thread-core';

/** What Redis answers while it cannot serve: it is loading, has lost its primary, or runs a script that hangs. */
const NOT_SERVING = /^(LOADING|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|BUSY|TRYAGAIN|MISCONF|UNBLOCKED|NOAUTH|WRONGPASS)\b/;

/** Brings what a client or a script rejects with into the errors of the contract. */
export function toStoreError(error: unknown): Error {
  if (error instanceof StoreError || error instanceof FencedError) return error;
  // ioredis puts in what was to be stored: texts, identities, hashes of secrets. Errors are logged, with their causes.
  if (error instanceof Error) delete (error as { command?: unknown }).command;
  const message = error instanceof Error ? error.message : String(error);
  const own = /\bARC(FENCED|GAP|FULL|VERSION) (.*)/.exec(message);
  if (own !== null) {
    const [, code, about = ''] = own;
    if (code === 'FENCED') return new FencedError(about);
    if (code === 'GAP') return new StoreError('gap', `Frames ${about} of a journal are missing`);
    if (code === 'FULL') return new StoreError('full', `The inbox of ${about} is full`);
    return new StoreError('version', `A session was stored in version ${about}, which this release cannot read`);
  }
  // Redis 6 quotes the error of a command in that of the script.
  if (/\bOOM command not allowed/.test(message)) {
    return new StoreError('full', 'Redis has no memory left (maxmemory)', { cause: error });
  }
  if (/\bREADONLY\b/.test(message)) {
    return new StoreError('readonly', 'Redis is a read-only replica', { cause: error });
  }
  const isAway = !isReply(error) || NOT_SERVING.test(message);
  if (isAway) return new StoreError('away', `Redis cannot be reached: ${message}`, { cause: error });
  return new StoreError('failed', `Redis failed: ${message}`, { cause: error });
}

/** Whether the server does not have the script in its cache. */
export function isNoScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}

/** Whether Redis itself has answered with this error. All else comes from the client or its connection. */
function isReply(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // node-redis has classes under ErrorReply, ioredis names its class ReplyError.
  for (let type: unknown = error.constructor; typeof type === 'function'; type = Object.getPrototypeOf(type)) {
    if (type.name === 'ErrorReply' || type.name === 'ReplyError') return true;
  }
  return error.name === 'ReplyError';
}
