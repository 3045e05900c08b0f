import { AsyncResource } from 'node:async_hooks';
import { Socket } from 'node:net';
import { buildConnector, errors } from 'undici';

/**
 * The asynchronous context of all connections: none. A connection is opened for one request and serves many, whose answers
 * would else be handled, hooks and log lines included, in the span (or the user) of that one.
 */
const NO_CONTEXT = new AsyncResource('ARC_CONNECTION');

/** Makes connections as undici does, with the corrections of {@link METHODS}, in no context of a request. */
export class Connector {
  readonly #connect = buildConnector({}) as (...request: Parameters<buildConnector.connector>) => Socket;
  /** Connections that are being made: undici knows them only when they are there. */
  readonly #connecting = new Set<Socket>();

  /** undici's option `connect`. */
  readonly connect: buildConnector.connector = (options, callback) => {
    const connecting = NO_CONTEXT.runInAsyncScope(
      this.#connect,
      undefined,
      options,
      (...result: Parameters<buildConnector.Callback>) => {
        this.#connecting.delete(connecting);
        // Undefined if the connection failed, whatever its type says.
        const socket = result[1] as AgentSocket | undefined;
        if (socket !== undefined) {
          // Without this, Node destroys the socket after its end, and undici resumes no answer whose socket is destroyed.
          socket.allowHalfOpen = true;
          socket[STATE] = { isAwaitingAnswer: false, held: undefined, isPaused: false, hasEnded: false };
          Object.assign(socket, METHODS);
        }
        callback(...result);
      },
    );
    this.#connecting.add(connecting);
  };

  /**
   * Gives up the connections that are being made. A client of undici that is destroyed waits for its own, which keeps the
   * process alive for ten seconds if an agent's host answers nothing.
   */
  destroy(): void {
    for (const socket of this.#connecting) socket.destroy(new errors.ClientDestroyedError());
  }
}

const STATE = Symbol('state');

interface State {
  /** A request was written, and nothing of its answer has been read. */
  isAwaitingAnswer: boolean;
  /** The begin of what may be a `100 Continue`. */
  held: Buffer | undefined;
  /** undici reads until there is nothing left, unless its parser is paused. */
  isPaused: boolean;
  /** The connection ended while its answer was paused. */
  hasEnded: boolean;
}

type AgentSocket = Socket & { [STATE]: State };

const { destroy } = Socket.prototype;
const emit = Socket.prototype.emit as (this: Socket, event: string | symbol, ...data: unknown[]) => boolean;
const read = Socket.prototype.read as (this: Socket, size?: number) => Buffer | null;
const write = Socket.prototype.write as (this: Socket, ...data: unknown[]) => boolean;

/**
 * Replaces these methods of each socket. All sockets share them, because V8 optimizes calls to closures of each socket less:
 * JSON round trips cost two per cent more with those.
 *
 * - undici fails a request whose server sends `100 Continue` without having been asked for it. It means nothing: skip it.
 * - If a connection ends while its answer is paused, undici 7 may throw in a listener of the socket, which ends the process
 *   (https://github.com/nodejs/undici/issues/5360; fixed in undici 8, which needs Node 22). So undici gets the end when it
 *   reads again, and a reset as an error that it does not take for the end of an answer.
 * - If a request is aborted, undici destroys its socket with an error that its own client takes for a reason to connect
 *   again, with nothing to send; that connection then stays. With any other error it does not
 *   (https://github.com/nodejs/undici/issues/5845).
 */
const METHODS = {
  write(this: AgentSocket, ...data: unknown[]): boolean {
    this[STATE].isAwaitingAnswer = true;
    return write.apply(this, data);
  },

  read(this: AgentSocket, size?: number): Buffer | null {
    // Node itself reads 0 bytes, which only asks the system for more.
    if (size !== undefined) return read.call(this, size);
    const state = this[STATE];
    const chunk = state.isAwaitingAnswer ? readAnswer(this, state) : read.call(this);
    state.isPaused = chunk !== null;
    if (state.hasEnded && !state.isPaused) {
      state.hasEnded = false;
      process.nextTick(() => emit.call(this, 'end'));
    }
    return chunk;
  },

  emit(this: AgentSocket, event: string | symbol, ...data: unknown[]): boolean {
    if (event !== 'end' || !this[STATE].isPaused) return emit.call(this, event, ...data);
    this[STATE].hasEnded = true;
    return true;
  },

  destroy(this: AgentSocket, error?: NodeJS.ErrnoException): Socket {
    if (error?.message === 'aborted') return destroy.call(this, new Error('aborted'));
    if (!this[STATE].isPaused || error?.code !== 'ECONNRESET') return destroy.call(this, error);
    return destroy.call(this, new errors.SocketError('The connection was reset', undefined));
  },
};

const CONTINUE = Buffer.from('HTTP/1.1 100');
const END_OF_HEAD = '\r\n\r\n';
const MAX_HEAD_BYTES = 1024;

/** The first bytes of an answer, behind any `100 Continue`. */
function readAnswer(socket: Socket, state: State): Buffer | null {
  let chunk = read.call(socket);
  while (chunk !== null) {
    const bytes: Buffer = state.held === undefined ? chunk : Buffer.concat([state.held, chunk]);
    state.held = undefined;
    const end = mayBeContinue(bytes) ? bytes.indexOf(END_OF_HEAD) : -1;
    if (end !== -1) {
      const rest = bytes.subarray(end + END_OF_HEAD.length);
      chunk = rest.length > 0 ? rest : read.call(socket);
    } else if (mayBeContinue(bytes) && bytes.length < MAX_HEAD_BYTES) {
      // The rest of it is still to come.
      state.held = bytes;
      chunk = read.call(socket);
    } else {
      state.isAwaitingAnswer = false;
      return bytes;
    }
  }
  return null;
}

/** The first digit of the status, behind `HTTP/1.1 `. */
const STATUS_AT = 9;

function mayBeContinue(bytes: Buffer): boolean {
  // Nearly every answer is known by this byte not to be one.
  if (bytes.length > STATUS_AT && bytes[STATUS_AT] !== CONTINUE[STATUS_AT]) return false;
  const length = Math.min(bytes.length, CONTINUE.length);
  return bytes.compare(CONTINUE, 0, length, 0, length) === 0;
}
