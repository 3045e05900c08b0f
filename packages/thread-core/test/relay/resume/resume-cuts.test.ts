import { once } from 'node:events';
import t from 'tap';
import type { WebSocket } from 'ws';
import { type Client, type Frame, type Json, to, type World, world } from '../helpers.js';

/** A client of a resumable session, as PROTOCOL.md describes it. Every frame that it gets and sends is kept. */
class ResumingClient {
  readonly frames: Frame[] = [];
  readonly sent: Json[] = [];
  readonly #all: World;
  #client: Client | undefined;
  #session: string | undefined;
  #replayUntil = 0;

  constructor(all: World) {
    this.#all = all;
  }

  get seq(): number {
    return this.frames.length;
  }

  /** Connects, and sends again what has not arrived. */
  async connect(): Promise<Json> {
    const client = await this.#all.connect();
    this.#client = client;
    const cursor = this.#session === undefined ? {} : { session: this.#session, seq: this.seq, sent: this.sent.length };
    client.send({ type: 'resume', ...cursor });
    const ready = (await client.next()) as Frame & { session: string; got: number; seq: number; reason?: string };
    if (ready.type !== 'ready' || ready.reason !== undefined) throw new Error(`Not resumed: ${JSON.stringify(ready)}`);
    this.#session = ready.session;
    this.#replayUntil = ready.seq;
    client.send(...this.sent.slice(ready.got));
    return ready;
  }

  send(frame: Json): void {
    this.sent.push(frame);
    this.#client?.send(frame);
  }

  /** The next numbered frame. Throws if it is not the one that follows. */
  async next(): Promise<Frame> {
    for (;;) {
      const frame = await (this.#client as Client).next();
      if (frame.type === 'ack') continue;
      if (frame.seq !== this.seq + 1) throw new Error(`Frame ${frame.seq} came after ${this.seq}`);
      this.frames.push(frame);
      return frame;
    }
  }

  /** Loses the connection: at once, and frames that are on their way to the relay with it. */
  async cut(isNoticed = true): Promise<void> {
    const client = this.#client as Client;
    const socket = this.#all.sockets[this.#all.clients.indexOf(client)] as WebSocket;
    const gone = once(socket, 'close');
    client.socket.terminate();
    if (isNoticed) await gone;
  }

  get isReplaying(): boolean {
    return this.seq < this.#replayUntil;
  }
}

const EVENTS = 60;

/** Streams numbers, one in each turn of the event loop, so that pieces come while connections come and go. */
async function* count(): AsyncGenerator<string> {
  for (let i = 0; i < EVENTS; i++) {
    yield `${i};`;
    await new Promise(setImmediate);
  }
}

function textOfStream(frames: Frame[], id: unknown): string {
  type Piece = { message: { parts: { content: string }[] } };
  const pieces = frames.filter((frame) => frame.type === 'content' && frame.id === id);
  return pieces.flatMap(({ data }) => (data as Piece).message.parts.map(({ content }) => content)).join('');
}

const EXPECTED = Array.from({ length: EVENTS }, (_, i) => `${i};`).join('');

for (const isNoticed of [true, false]) {
  const what = isNoticed ? 'after the relay has noticed' : 'before the relay has noticed';
  t.test(`a stream whose connection is cut after every frame, and resumed ${what} [F-273] [F-274]`, async (t) => {
    const all = await world(t, { resume: true, agent: { handler: count } });
    const client = new ResumingClient(all);
    await client.connect();
    client.send(to('a', 'go', { id: 'q', stream: true }));
    while (client.frames.at(-1)?.type !== 'done') {
      await client.next();
      await client.cut(isNoticed);
      await client.connect();
    }
    t.equal(textOfStream(client.frames, 'q'), EXPECTED);
    t.equal(all.agent.requests.length, 1, 'the message has reached the agent once');
    t.match(all.relay.stats(), { sessions: 1, pending: 0 });
  });
}

t.test(
  'random cuts of a session with several streams: each frame once and in order, each message once [F-279] [F-292]',
  async (t) => {
    const all = await world(t, { resume: true, agent: { handler: count } });
    const client = new ResumingClient(all);
    await client.connect();
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    const done = (): number => client.frames.filter(({ type }) => type === 'done').length;
    const waiting = [...ids];
    while (done() < ids.length) {
      const id = random(20) === 0 || client.seq >= client.sent.length * 30 ? waiting.shift() : undefined;
      if (id !== undefined) client.send(to(id, 'go', { id, stream: true }));
      // A frame that was just sent is lost, or not.
      if (random(10) === 0) {
        await client.cut(random(2) === 0);
        await client.connect();
      } else if (client.sent.length > done() || client.isReplaying) await client.next();
    }
    for (const id of ids) t.equal(textOfStream(client.frames, id), EXPECTED, `stream ${id}`);
    t.equal(all.agent.requests.length, ids.length, 'each message has reached its agent once');
  },
);
