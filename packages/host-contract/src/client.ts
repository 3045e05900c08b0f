import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { withDeadline } from '@arc/test-client';

export { Client, type Frame, streamedText, textOf, to, until, withDeadline } from '@arc/test-client';

/** A promise `opened`, and the function that fulfils it. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** An `authenticate` that counts its calls (`asked`), and accepts all of them once `open` is called. */
export function heldAuthentication(): { asked: number; open: () => void; authenticate: () => Promise<true> } {
  const { opened, open } = gate();
  const held = {
    asked: 0,
    open,
    authenticate: async (): Promise<true> => {
      held.asked += 1;
      await opened;
      return true;
    },
  };
  return held;
}

/** The HTTP answer to a request for an upgrade. */
export interface Answer {
  status: number;
  body: string;
  headers: IncomingMessage['headers'];
}

const handshake = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

export type Headers = Record<string, string>;

/** Requests an upgrade by node:http. Resolves when the connection is closed; after a 101 it drops the connection itself. */
export function upgrade(port: number, path: string, headers: Headers = {}): Promise<Answer> {
  return plain(port, path, { ...handshake, ...headers });
}

/** A request without a connection to share. */
export function plain(port: number, path: string, headers: Headers = {}): Promise<Answer> {
  const answered = new Promise<Answer>((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', path, headers, agent: false });
    sent.on('upgrade', ({ statusCode: status = 0, headers }, socket: Socket) => {
      socket.destroy();
      resolve({ status, body: '', headers });
    });
    sent.on('response', async (response) => {
      let body = '';
      for await (const chunk of response.setEncoding('utf8')) body += chunk;
      if (!sent.destroyed && sent.socket !== null && !sent.socket.destroyed) await once(sent.socket, 'close');
      resolve({ status: response.statusCode ?? 0, body, headers: response.headers });
    });
    sent.on('error', reject);
    sent.end();
  });
  return withDeadline(answered, `an answer to ${path}`);
}

/** The bytes of a request for an upgrade. */
export function upgradeText(path: string, headers: Headers = {}, method = 'GET'): string {
  const lines = Object.entries({ host: '127.0.0.1', ...handshake, ...headers }).map((line) => line.join(': '));
  return [`${method} ${path} HTTP/1.1`, ...lines, '', ''].join('\r\n');
}

/** A text frame of a client with less than 64 KiB. */
export function frameBytes(text: string | Buffer, opcode = 1): Buffer {
  const payload = Buffer.from(text);
  const [low, high] = [payload.length & 0xff, payload.length >> 8];
  const length = payload.length < 126 ? [0x80 | payload.length] : [0xfe, high, low];
  // Masked with zeros, which is a mask too.
  return Buffer.concat([Buffer.from([0x80 | opcode, ...length, 0, 0, 0, 0]), payload]);
}

/** A TCP client that sends the given bytes, records what it receives, and never answers. */
export class RawClient {
  readonly socket: Socket;
  text = '';
  readonly closed: Promise<unknown>;

  constructor(port: number, ...bytes: (string | Buffer)[]) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1');
    });
    this.closed = new Promise((resolve) => this.socket.on('close', resolve));
    // In one write, so that they arrive together.
    this.socket.write(Buffer.concat(bytes.map((part) => Buffer.from(part))));
  }

  /** Resolves when it has received this text. */
  receives(part: string): Promise<void> {
    const received = async (): Promise<void> => {
      while (!this.text.includes(part)) {
        if (this.socket.readableEnded) throw new Error(`"${part}" never came, but ${JSON.stringify(this.text)}`);
        await Promise.race([once(this.socket, 'data'), once(this.socket, 'end')]);
      }
    };
    return withDeadline(received(), JSON.stringify(part));
  }
}

export function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}
