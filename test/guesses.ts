import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { withDeadline } from '@arc/test-client';

/** Connections that are being opened at a time: fewer than a server keeps waiting. */
const OPENING = 100;

/** Guesses that are sent in each turn of the event loop, in which their owner has something to say as well. */
const GUESSES_A_TURN = 50;

/** A text frame of a client, whose mask changes nothing (RFC 6455, 5.2). */
function frameOf(text: string): Buffer {
  const payload = Buffer.from(text);
  return Buffer.concat([
    Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]),
    payload,
  ]);
}

/** A WebSocket that is upgraded, and on which nothing was sent. */
async function upgrade(url: URL): Promise<Socket> {
  const socket = connect(Number(url.port), url.hostname);
  socket.on('error', () => {});
  socket.write(
    `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
  );
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!answer.toString().startsWith('HTTP/1.1 101 ')) throw new Error(`No upgrade: ${answer}`);
  return socket;
}

/** Somebody who knows the id of a session, and tries secrets. Each connection has one guess: its first frame. */
export class Guesser {
  readonly #sockets: Socket[] = [];
  readonly #url: URL;

  constructor(url: string) {
    this.#url = new URL(url);
  }

  /** Opens connections, on which nothing is sent yet. */
  async open(count: number): Promise<void> {
    while (this.#sockets.length < count) {
      const more = Array.from({ length: Math.min(OPENING, count - this.#sockets.length) }, () => upgrade(this.#url));
      this.#sockets.push(...(await withDeadline(Promise.all(more), 'connections to guess on')));
    }
  }

  /** Sends a guess on each connection, as fast as it can. Gives the answers, and the milliseconds until the last of them. */
  async guess(sid: string): Promise<{ answers: string[]; ms: number }> {
    const guesses = this.#sockets.map((socket) => {
      const session = `${sid}.${randomBytes(24).toString('base64url')}`;
      return { socket, frame: frameOf(JSON.stringify({ type: 'resume', session, seq: 0, sent: 0 })) };
    });
    const begin = performance.now();
    const answers: Promise<string>[] = [];
    for (const { socket, frame } of guesses) {
      answers.push(once(socket, 'data').then(([answer]) => String(answer)));
      socket.write(frame);
      if (answers.length % GUESSES_A_TURN === 0) await endOfTurn();
    }
    const all = await withDeadline(Promise.all(answers), 'the answers to all guesses');
    return { answers: all, ms: performance.now() - begin };
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
