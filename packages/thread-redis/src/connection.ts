/** What the store uses of a node-redis client (5 or 6), or of one that node-redis made for Sentinel. */
export interface NodeRedisClient {
  sendCommand: (...args: never[]) => Promise<unknown>;
  duplicate(): NodeRedisClient;
  connect(): Promise<unknown>;
  destroy(): unknown;
  on(event: 'error' | 'ready', listener: (error: Error) => void): unknown;
}

/** What the store uses of an ioredis client (5 or 6). */
export interface IoRedisClient {
  call(command: string, args: (string | Buffer | number)[]): Promise<unknown>;
  duplicate(): IoRedisClient;
  disconnect(reconnect?: boolean): void;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/** A connected client of node-redis or ioredis. Clients for Redis Cluster and pools are refused. */
export type RedisClient = NodeRedisClient | IoRedisClient;

/** One connection, whichever library has made it. */
export interface Connection {
  /** Sends a command. `signal` drops it from the queue of node-redis if it has not been sent. ioredis cannot do that. */
  call(args: string[], signal?: AbortSignal): Promise<unknown>;
}

/** A connection of the store's own, for blocking reads. */
export interface OwnConnection extends Connection {
  /** Closes it at once. What was called and has no answer rejects. */
  close(): void;
}

type SendOptions = { abortSignal: AbortSignal } | undefined;
type Send = (args: string[], options: SendOptions) => Promise<unknown>;
type SendOverSentinel = (isReadonly: boolean, args: string[], options: SendOptions) => Promise<unknown>;

/** @throws TypeError if it is no client, or one that the store cannot work with */
export function toConnection(client: RedisClient): Connection {
  checkClient(client);
  if (isIoRedis(client)) return { call: ([command = '', ...args]) => client.call(command, args) };
  const { sendCommand } = client as { sendCommand: unknown };
  if (isSentinel(client)) {
    // Scripts and blocking reads belong on the primary.
    return { call: (args, signal) => (sendCommand as SendOverSentinel).call(client, false, args, optionsOf(signal)) };
  }
  return { call: (args, signal) => (sendCommand as Send).call(client, args, optionsOf(signal)) };
}

/**
 * Opens another connection with the client's settings, which reconnects by itself as that one does. Rejects if it could not be
 * opened, or if the signal is aborted before it is: then nothing of it stays.
 */
export function duplicate(client: RedisClient, signal: AbortSignal): Promise<OwnConnection> {
  const copy = client.duplicate();
  // Without a listener an error would be logged by ioredis, and would end the process with node-redis.
  copy.on('error', () => undefined);
  const connection = toConnection(copy);
  if (isIoRedis(copy)) return Promise.resolve(rejecting(connection, () => copy.disconnect()));
  const close = (): void => {
    // It throws if the connection is closed already.
    void Promise.resolve()
      .then(() => copy.destroy())
      .catch(() => undefined);
  };
  return new Promise((resolve, reject) => {
    const abandon = (): void => {
      // node-redis cannot stop an attempt to connect: it is closed when the attempt has ended. Sentinel's can.
      if (isSentinel(copy)) close();
      else for (const event of ['ready', 'error'] as const) copy.on(event, close);
      reject(new Error('The connection is not needed any more'));
    };
    signal.addEventListener('abort', abandon);
    const connected = copy.connect().finally(() => signal.removeEventListener('abort', abandon));
    connected.then(() => resolve(rejecting(connection, close)), reject);
  });
}

/** Clients leave calls unanswered that wait for a connection when it is closed. */
function rejecting(connection: Connection, close: () => void): OwnConnection {
  const waiting = new Set<(error: Error) => void>();
  return {
    call: (args, signal) =>
      new Promise((resolve, reject) => {
        waiting.add(reject);
        const answered = connection.call(args, signal).finally(() => waiting.delete(reject));
        answered.then(resolve, reject);
      }),
    close: () => {
      close();
      for (const reject of waiting) reject(new Error('The connection was closed'));
    },
  };
}

function optionsOf(abortSignal: AbortSignal | undefined): SendOptions {
  return abortSignal && { abortSignal };
}

function isIoRedis(client: RedisClient): client is IoRedisClient {
  return typeof (client as Partial<IoRedisClient>).call === 'function';
}

function isSentinel(client: object): boolean {
  return 'acquire' in client && 'setTracer' in client;
}

function checkClient(client: unknown): void {
  const { isCluster, masters, call, sendCommand, duplicate: copy } = Object(client) as Record<string, unknown>;
  if (isCluster === true || masters !== undefined) {
    throw new TypeError(
      'client: is a client for Redis Cluster, whose scripts cannot reach keys on several nodes. ' +
        'Use one primary, with Sentinel for failover',
    );
  }
  const isClient = typeof call === 'function' || typeof sendCommand === 'function';
  if (!isClient || typeof copy !== 'function') {
    throw new TypeError('client: must be a client of node-redis 5 or 6, or of ioredis 5 or 6 (not a pool)');
  }
}
