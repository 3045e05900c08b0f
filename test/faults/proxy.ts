import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { bounded } from './world.js';

/** Turns of the event loop in which a socket hears that its other end, in this process, is closed. */
const TURNS = 3;

/** The relay's end and the agent's end of one connection through the proxy. */
interface Pair {
  down: Socket;
  up: Socket | undefined;
  /** Forwards nothing any more, and closes nothing either. */
  silent: boolean;
  /** What came of the answer that is held up, and how much of it has been let through. */
  held: Buffer;
  passed: number;
}

/** A TCP proxy in front of an agent, which loses its connections in every way that there is. */
export class TcpProxy {
  readonly #target: number;
  readonly #pairs = new Set<Pair>();
  #server: Server;
  #port = 0;
  #silent = false;
  #hold: { after: number; reached: () => void } | undefined;
  /** Bytes of answers that were passed on. */
  passed = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = this.#create();
  }

  /** Starts a proxy on 127.0.0.1, in front of a port there. */
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

  /** Holds the next answer up after so many bytes of its body; before its head where `after` is negative. */
  hold(after: number): Promise<void> {
    return new Promise((reached) => {
      this.#hold = { after, reached };
    });
  }

  /** Resets all connections (RST). */
  reset(): Promise<void> {
    return this.#end((socket) => socket.resetAndDestroy());
  }

  /** Closes all connections (FIN), whatever was not forwarded yet. */
  cut(): Promise<void> {
    return this.#end((socket) => socket.destroySoon());
  }

  /** From now on swallows every byte and every FIN, both ways, of the connections that there are and of new ones. */
  silence(): void {
    this.#silent = true;
    for (const pair of this.#pairs) pair.silent = true;
  }

  /** Sends the relay these bytes, as if they were the agent's. */
  inject(bytes: Buffer): void {
    for (const { down } of this.#pairs) down.write(bytes);
  }

  /** Refuses connections, and closes those that there are. */
  async refuse(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    await this.cut();
    await closed;
  }

  /** Works for connections that are made from now on. */
  heal(): void {
    this.#silent = false;
    this.#hold = undefined;
  }

  /** Listens, again on the port that it had. */
  async listen(): Promise<void> {
    const server = this.#create();
    this.#server = server;
    // Meanwhile a connection of somebody else's may have been given the port: not for long, in these tests.
    server.on('error', () => server.listening || setTimeout(() => server.listen(this.#port, '127.0.0.1'), 20));
    server.listen(this.#port, '127.0.0.1');
    await bounded(new Promise((resolve) => server.once('listening', resolve)), `port ${this.#port}`);
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

  /** Resolves when the other side, which is in this process, has heard of it. */
  async #end(how: (socket: Socket) => void): Promise<void> {
    const closed = [...this.#pairs].map(async ({ down, up }) => {
      const gone = down.closed ? undefined : once(down, 'close');
      // What is not read any more would keep it from closing.
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

  /** Passes on what may pass of an answer. */
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
