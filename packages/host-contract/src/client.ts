import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type ClientOptions, WebSocket } from 'ws';

export type Frame = { type?: string; [key: string]: unknown };

/** A message frame. */
export function to(agentId: string, text = 'hello', more: Frame = {}): Frame {
  return { agent_id: agentId, message: { role: 'user', parts: [{ type: 'text', content: text }] }, ...more };
}

/** The text of a response frame, or of a piece of one. */
export function textOf(frame: Frame): string {
  type Chat = { message?: { parts?: { content: string }[] } };
  const chat = (frame.response as { result?: { chat?: Chat } } | undefined)?.result?.chat ?? (frame.data as Chat);
  const parts = chat?.message?.parts ?? [];
  return parts.map(({ content }) => content).join('');
}

/** The promise; after ten seconds a failure that says what was waited for. */
export async function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited in vain for ${what}`)), 10_000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks again in every turn of the event loop until it is so. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const isLate = AbortSignal.timeout(10_000);
  while (!(await condition())) {
    if (isLate.aborted) throw new Error(`Waited in vain until ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What waits for `opened` goes on when it is opened. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** An `authenticate` that counts whom it is asked about, and lets everybody in when it is opened. */
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

/** A WebSocket client that keeps what it gets. */
export class Client {
  readonly socket: WebSocket;
  readonly opened: Promise<unknown>;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #frames: Frame[] = [];
  #heard: (() => void) | undefined;

  constructor(url: string, options: ClientOptions = {}) {
    this.socket = new WebSocket(url, options);
    this.opened = once(this.socket, 'open');
    this.opened.catch(() => {});
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      this.#frames.push(JSON.parse(data.toString()));
      this.#heard?.();
    });
    const closed = new Promise<{ code: number; reason: string }>((resolve) => {
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
        this.#heard?.();
      });
    });
    this.closed = soon(closed, 'a client to be closed');
    this.closed.catch(() => {});
  }

  static async open(url: string, options?: ClientOptions): Promise<Client> {
    const client = new Client(url, options);
    await soon(client.opened, 'a client to be let in');
    return client;
  }

  send(...frames: Frame[]): void {
    for (const frame of frames) this.socket.send(JSON.stringify(frame));
  }

  async next(): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) return frame;
      if (this.socket.readyState === this.socket.CLOSED) throw new Error('The connection was closed');
      const heard = new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
      await soon(heard, 'a frame');
    }
  }

  /** Sends a frame; the frames up to the one that ends the answer. */
  async ask(frame: Frame): Promise<Frame[]> {
    this.send(frame);
    const frames = [await this.next()];
    while (!['response', 'done', 'error', 'cancelled', 'ended', 'pong'].includes(frames.at(-1)?.type ?? '')) {
      frames.push(await this.next());
    }
    return frames;
  }

  /** The text of the whole answer to a message. */
  async say(agentId: string, text?: string, more?: Frame): Promise<string> {
    return textOf((await this.ask(to(agentId, text, more))).at(-1) ?? {});
  }
}

/** What a plain HTTP client is told that asks for an upgrade. */
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

/** Asks for an upgrade by node:http. Resolves when the connection is gone, but for a 101, which it drops. */
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
  return soon(answered, `an answer to ${path}`);
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

/** A client that does only what it is told: it reads, and never answers. */
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
    // In one write, so that they come in together.
    this.socket.write(Buffer.concat(bytes.map((part) => Buffer.from(part))));
  }

  /** Resolves when it has been told that. */
  hears(part: string): Promise<void> {
    const heard = async (): Promise<void> => {
      while (!this.text.includes(part)) {
        if (this.socket.readableEnded) throw new Error(`"${part}" never came, but ${JSON.stringify(this.text)}`);
        await Promise.race([once(this.socket, 'data'), once(this.socket, 'end')]);
      }
    };
    return soon(heard(), JSON.stringify(part));
  }
}

export function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}
