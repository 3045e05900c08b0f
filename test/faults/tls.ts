import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';

const certificate = (name: string): string => readFileSync(new URL(`fixtures/${name}.pem`, import.meta.url), 'utf8');

/** The certificate that the tests' clients trust. */
export const trusted = certificate('trusted');
const untrusted = certificate('untrusted');

/** Puts TLS in front of a port on 127.0.0.1. */
export class TlsFront {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(target: number) {
    this.#server = createServer({ key: trusted, cert: trusted }, (socket) => {
      this.#sockets.add(socket);
      const up = connect(target, '127.0.0.1');
      socket.on('error', () => up.destroy()).on('close', () => up.destroy());
      up.on('error', () => socket.destroy()).on('close', () => socket.destroySoon());
      socket.pipe(up).pipe(socket);
    });
    this.#server.on('tlsClientError', () => {});
  }

  static async start(target: number): Promise<TlsFront> {
    const front = new TlsFront(target);
    front.#server.listen(0, '127.0.0.1');
    await once(front.#server, 'listening');
    return front;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Presents the trusted certificate, or an untrusted one, to new connections. */
  trust(isTrusted: boolean): void {
    const pem = isTrusted ? trusted : untrusted;
    this.#server.setSecureContext({ key: pem, cert: pem });
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
