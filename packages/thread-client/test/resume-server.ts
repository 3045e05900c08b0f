import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { ClientFrame, MessageFrame, RelayFrame, ResumeFrame } from '@arc/thread-protocol';
import { type WebSocket, WebSocketServer } from 'ws';

type Numbered = { seq: number; text: string };

/** One session of the scripted relay: numbers, journal, and the connection that it has. */
export class ScriptedSession {
  readonly secret: string;
  socket: WebSocket | undefined;
  seq = 0;
  got = 0;
  journal: Numbered[] = [];
  readonly pending = new Set<string | number>();
  /** Every numbered frame of the client, once each. */
  readonly frames: ClientFrame[] = [];
  /** Every ack of the client. */
  readonly acks: number[] = [];

  constructor(secret: string) {
    this.secret = secret;
  }

  /** Says something, now or when a connection comes back. */
  emit(frame: RelayFrame): void {
    const text = JSON.stringify({ ...frame, seq: ++this.seq });
    this.journal.push({ seq: this.seq, text });
    if ('id' in frame && frame.id !== undefined && ['done', 'response', 'error', 'cancelled'].includes(frame.type)) {
      this.pending.delete(frame.id);
    }
    this.socket?.send(text);
  }
}

/** A relay that speaks the resume part of the wire by a script. It has no agents: `onFrame` answers. */
export class ResumeServer {
  readonly sessions = new Map<string, ScriptedSession>();
  /** The `resume` frames as they came. */
  readonly resumes: ResumeFrame[] = [];
  /** All messages that were handled, over all sessions. */
  readonly handled: string[] = [];
  onFrame: (session: ScriptedSession, frame: ClientFrame) => void = () => {};
  /** Changes an answer to `resume`, or takes it away. */
  onReady: (ready: Record<string, unknown>) => Record<string, unknown> | undefined = (ready) => ready;
  ack = { frames: 4, bytes: 65_536, ms: 20 };
  readonly #server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  #secrets = 0;

  static async start(): Promise<ResumeServer> {
    const server = new ResumeServer();
    await once(server.#server, 'listening');
    server.#server.on('connection', (socket) => server.#connected(socket));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get session(): ScriptedSession {
    const session = [...this.sessions.values()].at(-1);
    if (session === undefined) throw new Error('There is no session');
    return session;
  }

  async close(): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #connected(socket: WebSocket): void {
    let session: ScriptedSession | undefined;
    socket.on('error', () => {});
    socket.on('close', (code) => {
      if (session === undefined || session.socket !== socket) return;
      session.socket = undefined;
      if (code === 1000 || code === 1005) this.sessions.delete(session.secret);
    });
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as ClientFrame;
      if (frame.type === 'resume') session = this.#resume(socket, frame);
      else if (frame.type === 'ping') socket.send(JSON.stringify({ type: 'pong' }));
      else if (session === undefined) throw new Error(`Before resume: ${data}`);
      else this.#take(session, frame);
    });
  }

  #take(session: ScriptedSession, frame: ClientFrame): void {
    if (frame.type === 'ack') {
      session.acks.push(frame.seq);
      session.journal = session.journal.filter(({ seq }) => seq > frame.seq);
      return;
    }
    session.got += 1;
    session.frames.push(frame);
    if (frame.type === undefined && 'message' in frame) {
      const { id } = frame as MessageFrame;
      if (id !== undefined) session.pending.add(id);
      this.handled.push(String(id));
    }
    session.socket?.send(JSON.stringify({ type: 'ack', seq: session.got }));
    this.onFrame(session, frame);
  }

  #resume(socket: WebSocket, frame: ResumeFrame): ScriptedSession {
    this.resumes.push(frame);
    const known = frame.session === undefined ? undefined : this.sessions.get(frame.session);
    const session = known ?? new ScriptedSession(`secret-${++this.#secrets}`);
    const { secret, seq, got } = session;
    this.sessions.set(secret, session);
    session.socket?.close(4409);
    session.socket = socket;
    const fields = { type: 'ready', session: secret, seq, got, grace_ms: 1_000, ack: this.ack };
    const reason = frame.session === undefined ? {} : { reason: 'unknown' };
    const more = known === undefined ? { resumed: false, ...reason } : { resumed: true, pending: [...session.pending] };
    const ready = this.onReady({ ...fields, ...more });
    if (ready !== undefined) socket.send(JSON.stringify(ready));
    for (const { text, seq } of session.journal) if (seq > (frame.seq ?? 0)) socket.send(text);
    return session;
  }
}

export function idOf(frame: ClientFrame): string {
  return 'id' in frame ? String(frame.id) : '';
}

/** Answers a message with so many pieces, which name their number. */
export function pieces(session: ScriptedSession, frame: ClientFrame, count: number): void {
  if (!('message' in frame)) return;
  const { id = '', agent_id = '' } = frame;
  for (let n = 0; n < count; n++) session.emit({ type: 'content', id, agent_id, data: `${n} ` });
  session.emit({ type: 'done', id, agent_id, data: { count } });
}
