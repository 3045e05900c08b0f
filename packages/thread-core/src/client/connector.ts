import type { Socket } from 'node:net';
import { buildConnector, errors } from 'undici';

/** Makes connections as undici does, with three corrections. */
export function createConnector(): buildConnector.connector {
  const connect = buildConnector({});
  return (options, callback) => {
    connect(options, (...result) => {
      // Undefined if the connection failed, whatever its type says.
      const socket = result[1] as Socket | undefined;
      if (socket !== undefined) {
        dropAbortError(socket);
        ignoreContinue(socket);
        deferEndWhilePaused(socket);
      }
      callback(...result);
    });
  };
}

/**
 * If a request is aborted, undici destroys its socket with an error that its own client takes for a reason to connect
 * again, with nothing to send; that connection then stays. With any other error it does not
 * (https://github.com/nodejs/undici/issues/5845).
 */
function dropAbortError(socket: Socket): void {
  const destroy = socket.destroy.bind(socket);
  socket.destroy = (error) => destroy(error?.message === 'aborted' ? new Error('aborted') : error);
}

/**
 * If a connection ends while its answer is paused, undici 7 may throw in a listener of the socket, which ends the process
 * (https://github.com/nodejs/undici/issues/5360; fixed in undici 8, which needs Node 22). So undici gets the end when it
 * reads again, and a reset as an error that it does not take for the end of an answer.
 */
function deferEndWhilePaused(socket: Socket): void {
  // Without this, Node destroys the socket after its end, and undici resumes no answer whose socket is destroyed.
  socket.allowHalfOpen = true;
  const emit = socket.emit.bind(socket) as (event: string | symbol, ...data: unknown[]) => boolean;
  const read = socket.read.bind(socket);
  const destroy = socket.destroy.bind(socket);
  // undici reads until there is nothing left, unless its parser is paused.
  let isPaused = false;
  let hasEnded = false;
  socket.read = (size?: number) => {
    const chunk = read(size);
    // Node itself reads 0 bytes, which only asks the system for more.
    if (size !== undefined) return chunk;
    isPaused = chunk !== null;
    if (hasEnded && !isPaused) {
      hasEnded = false;
      process.nextTick(emit, 'end');
    }
    return chunk;
  };
  socket.emit = (event: string | symbol, ...data: unknown[]) => {
    if (event !== 'end' || !isPaused) return emit(event, ...data);
    hasEnded = true;
    return true;
  };
  socket.destroy = (error) => {
    const isReset = isPaused && (error as NodeJS.ErrnoException | undefined)?.code === 'ECONNRESET';
    return destroy(isReset ? new errors.SocketError('The connection was reset', undefined) : error);
  };
}

const CONTINUE = Buffer.from('HTTP/1.1 100');
const END_OF_HEAD = '\r\n\r\n';
const MAX_HEAD_BYTES = 1024;

/** undici fails a request whose server sends `100 Continue` without having been asked for it. It means nothing: skip it. */
function ignoreContinue(socket: Socket): void {
  const read = socket.read.bind(socket);
  const write = socket.write.bind(socket) as (...data: Parameters<Socket['write']>) => boolean;
  let isAwaitingAnswer = false;
  let held: Buffer | undefined;
  socket.write = (...data: unknown[]) => {
    isAwaitingAnswer = true;
    return write(...(data as Parameters<Socket['write']>));
  };
  socket.read = (size?: number): Buffer | null => {
    let chunk: Buffer | null = read(size);
    while (isAwaitingAnswer && chunk !== null) {
      const bytes: Buffer = held === undefined ? chunk : Buffer.concat([held, chunk]);
      held = undefined;
      const end = mayBeContinue(bytes) ? bytes.indexOf(END_OF_HEAD) : -1;
      if (end !== -1) {
        const rest = bytes.subarray(end + END_OF_HEAD.length);
        chunk = rest.length > 0 ? rest : read();
      } else if (mayBeContinue(bytes) && bytes.length < MAX_HEAD_BYTES) {
        // The rest of it is still to come.
        held = bytes;
        chunk = read();
      } else {
        isAwaitingAnswer = false;
        return bytes;
      }
    }
    return chunk;
  };
}

/** The first digit of the status, behind `HTTP/1.1 `. */
const STATUS_AT = 9;

function mayBeContinue(bytes: Buffer): boolean {
  // Nearly every answer is known by this byte not to be one.
  if (bytes.length > STATUS_AT && bytes[STATUS_AT] !== CONTINUE[STATUS_AT]) return false;
  const length = Math.min(bytes.length, CONTINUE.length);
  return bytes.compare(CONTINUE, 0, length, 0, length) === 0;
}
