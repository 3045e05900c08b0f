import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  client: Socket;
  server: Socket;
  silent: boolean;
}

/** A TCP proxy in front of a relay, which loses its connections in every way that there is. */
export class TcpProxy {
  readonly #pairs = new Set<Pair>();
  readonly #server: Server;
  /** Connections that were accepted so far. */
  accepted = 0;
  /** Bytes to let through to the client on each connection before it is reset. */
  cutAfter: (() => number) | undefined;

  private constructor(target: number) {
    this.#server = createServer((client) => this.#accept(client, connect(target, '127.0.0.1')));
  }

  static async start(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/ws`;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Resets all connections. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      if (server.connecting) server.destroy();
      else server.resetAndDestroy();
    }
  }

  /** Swallows every byte of the connections that there are, and closes none. New ones work. */
  silence(): void {
    for (const pair of this.#pairs) pair.silent = true;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  #accept(client: Socket, server: Socket): void {
    this.accepted += 1;
    const pair: Pair = { client, server, silent: false };
    this.#pairs.add(pair);
    let left = this.cutAfter?.() ?? Number.POSITIVE_INFINITY;
    client.on('data', (chunk) => pair.silent || server.write(chunk));
    server.on('data', (chunk) => {
      if (pair.silent) return;
      client.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left > 0) return;
      // Through the socket's own end, so that the bytes before the cut arrive.
      pair.silent = true;
      client.destroySoon();
      server.resetAndDestroy();
    });
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#pairs.delete(pair);
        if (!pair.silent) (socket === client ? server : client).destroy();
        else if (socket === client) server.destroy();
      });
    }
  }
}
