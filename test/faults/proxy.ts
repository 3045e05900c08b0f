import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { withDeadline } from './world.js';

/** Turns of the event loop after which a socket in this process has noticed that its other end is closed. */
const TURNS = 3;

/** The relay's end and the agent's end of one connection through the proxy. */
interface Pair {
  down: Socket;
  up: Socket | undefined;
  /** Forwards nothing, and does not close either. */
  silent: boolean;
  /** The part of a held answer that has arrived, and the number of its bytes that were forwarded. */
  held: Buffer;
  passed: number;
}

/** A TCP proxy that breaks its connections in every way. */
export class TcpProxy {
  readonly #target: number;
  readonly #pairs = new Set<Pair>();
  #server: Server;
  #port = 0;
  #silent = false;
  #hold: { after: number; reached: () => void } | undefined;
  /** Number of bytes of answers that were forwarded. */
  passed = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = this.#create();
  }

  /** Starts a proxy on 127.0.0.1, in front of another port of 127.0.0.1. */
  static async start(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await proxy.listen();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get listening(): boolean {
    return this.#server.listening;
  }

  /** Holds the next answer after this many bytes of its body, or before its headers if `after` is negative. */
  hold(after: number): Promise<void> {
    return new Promise((reached) => {
      this.#hold = { after, reached };
    });
  }

  /** Resets all connections (RST). */
  reset(): Promise<void> {
    return this.#end((socket) => socket.resetAndDestroy());
  }

  /** Closes all connections (FIN), even if data was not forwarded yet. */
  cut(): Promise<void> {
    return this.#end((socket) => socket.destroySoon());
  }

  /** From now on drops every byte and every FIN, in both directions, of existing and new connections. */
  silence(): void {
    this.#silent = true;
    for (const pair of this.#pairs) pair.silent = true;
  }

  /** Sends these bytes to the relay as if they came from the agent. */
  inject(bytes: Buffer): void {
    for (const { down } of this.#pairs) down.write(bytes);
  }

  /** Refuses new connections, and closes existing ones. */
  async refuse(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    await this.cut();
    await closed;
  }

  /** Works again, for new connections. */
  heal(): void {
    this.#silent = false;
    this.#hold = undefined;
  }

  /** Listens, on the same port as before. */
  async listen(): Promise<void> {
    const server = this.#create();
    this.#server = server;
    // In the meantime the system may have given the port to another connection, which is short-lived in these tests.
    server.on('error', () => server.listening || setTimeout(() => server.listen(this.#port, '127.0.0.1'), 20));
    server.listen(this.#port, '127.0.0.1');
    await withDeadline(new Promise((resolve) => server.once('listening', resolve)), `port ${this.#port}`);
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, 'close') : undefined;
    this.#server.close();
    await this.#end((socket) => socket.destroy());
    await closed;
  }

  #create(): Server {
    return createServer({ allowHalfOpen: true }, (down) => this.#connected(down));
  }

  /** Resolves when the other end, which is in this process, has noticed. */
  async #end(how: (socket: Socket) => void): Promise<void> {
    const closed = [...this.#pairs].map(async ({ down, up }) => {
      const gone = down.closed ? undefined : once(down, 'close');
      // Unread data would prevent the socket from closing.
      down.resume();
      how(down);
      up?.destroy();
      await gone;
    });
    this.#pairs.clear();
    await Promise.all(closed);
    for (let turn = 0; turn < TURNS; turn++) await setImmediate();
  }

  #connected(down: Socket): void {
    const pair: Pair = { down, up: undefined, silent: this.#silent, held: Buffer.alloc(0), passed: 0 };
    this.#pairs.add(pair);
    down.on('error', () => {});
    if (this.#silent) {
      down.resume();
      return;
    }
    const up = connect(this.#target, '127.0.0.1');
    pair.up = up;
    up.on('error', () => {});
    this.#forward(pair, down, up, (chunk) => up.write(chunk));
    this.#forward(pair, up, down, (chunk) => this.#answer(pair, chunk));
  }

  #forward(pair: Pair, from: Socket, to: Socket, pass: (chunk: Buffer) => boolean): void {
    from.on('data', (chunk: Buffer) => {
      if (pair.silent || pass(chunk)) return;
      from.pause();
      to.once('drain', () => from.resume());
    });
    from.on('end', () => {
      if (!pair.silent) to.end();
    });
    from.on('close', () => {
      if (pair.silent) return;
      this.#pairs.delete(pair);
      to.destroySoon();
    });
  }

  /** Forwards the part of an answer that is not held. */
  #answer(pair: Pair, chunk: Buffer): boolean {
    const hold = this.#hold;
    if (hold === undefined) {
      this.passed += chunk.length;
      return pair.down.write(chunk);
    }
    pair.held = Buffer.concat([pair.held, chunk]);
    const head = pair.held.indexOf('\r\n\r\n');
    const most = hold.after < 0 ? 0 : head < 0 ? pair.passed : head + 4 + hold.after;
    const passing = pair.held.subarray(pair.passed, most);
    pair.passed += passing.length;
    if (pair.held.length > most) hold.reached();
    return passing.length === 0 || pair.down.write(passing);
  }
}
