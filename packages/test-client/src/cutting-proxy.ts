import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  /** That of the relay. */
  port: number;
  client: Socket;
  server: Socket;
  /** Forwards nothing. */
  silent: boolean;
  /** The relay does not notice that the client's half is closed. */
  abandoned: boolean;
}

/** A TCP proxy in front of one or more relays, which loses its connections in every way that there is. */
export class CuttingProxy {
  readonly #pairs = new Set<Pair>();
  readonly #server: Server;
  /** Connections that were accepted so far. */
  accepted = 0;
  /** Bytes to let through to the client on each connection before it is reset. */
  cutAfter: (() => number) | undefined;
  /** Resets new connections as they come. */
  refuses = false;

  private constructor(target: () => number) {
    this.#server = createServer((client) => {
      if (this.refuses) client.resetAndDestroy();
      else this.#accept(client, target());
    });
  }

  /** `target`: the port of the relay, or a function that picks one for each connection. */
  static async start(target: number | (() => number)): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(typeof target === 'number' ? () => target : target);
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
    for (const pair of this.#pairs) {
      const { client, server } = pair;
      pair.abandoned = false;
      client.resetAndDestroy();
      if (server.connecting) server.destroy();
      else server.resetAndDestroy();
    }
  }

  /** Swallows every byte of the connections that there are, and closes none. New ones work. */
  silence(): void {
    for (const pair of this.#pairs) pair.silent = true;
  }

  /**
   * Resets the clients' halves. The relay does not notice: its halves stay open, and are silent. `port`: only those to the
   * relay of that port.
   */
  abandon(port?: number): void {
    for (const pair of this.#pairs) {
      if (port !== undefined && pair.port !== port) continue;
      pair.silent = true;
      pair.abandoned = true;
      pair.client.resetAndDestroy();
    }
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  #accept(client: Socket, port: number): void {
    this.accepted += 1;
    const server = connect(port, '127.0.0.1');
    const pair: Pair = { port, client, server, silent: false, abandoned: false };
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
      socket.on('close', () => this.#closed(pair, socket));
    }
  }

  #closed(pair: Pair, socket: Socket): void {
    const { client, server } = pair;
    if (socket === client && pair.abandoned) return;
    this.#pairs.delete(pair);
    if (!pair.silent) (socket === client ? server : client).destroy();
    else if (socket === client) server.destroy();
  }
}
