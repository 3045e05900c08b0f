/** Writes message frames. Everything except the id is built once for each agent. */
export class FrameWriter {
  readonly #tails: readonly string[];

  constructor(agents: readonly string[], bytes: number, stream: boolean) {
    const content = bytes === 0 ? 'Help needed' : 'x'.repeat(bytes);
    const message = `{"role":"user","parts":[{"type":"text","content":"${content}"}]}`;
    const asked = stream ? ',"stream":true' : '';
    this.#tails = agents.map((agent) => `,"agent_id":"${agent}","trace_id":"trace-123","message":${message}${asked}}`);
  }

  /** The nth frame of a connection. Its agents alternate. */
  write(n: number): string {
    return `{"id":${n}${this.#tails[n % this.#tails.length]}`;
  }
}

const D = 'd'.charCodeAt(0);
const E = 'e'.charCodeAt(0);
const T = 't'.charCodeAt(0);

/**
 * Whether a frame is the last of its answer, by its first bytes: `{"type":"d…` is the `done` of a stream.
 * @throws Error if it is an error frame
 */
export function isLast(frame: Buffer, stream: boolean): boolean {
  const type = frame[2] === T ? frame[9] : undefined;
  if (type === E) throw new Error(`A host answered: ${frame.toString('utf8', 0, 300)}`);
  return !stream || type === D;
}

const S = 's'.charCodeAt(0);
const A = 'a'.charCodeAt(0);
const COMMA = ','.charCodeAt(0);
const OPEN = '{'.charCodeAt(0);

/** A resumable session, as its client knows it. */
export class Session {
  /** Its secret. */
  token: string;
  /** The number of the last frame that has arrived. */
  seq = 0;
  /** Number of messages that were sent. */
  sent = 0;

  constructor(token: string) {
    this.token = token;
  }

  /** Counts a frame, and acknowledges as often as PROTOCOL.md asks for. Returns it without its number, or undefined for an `ack`. */
  read(frame: Buffer, send: (frame: string) => void): Buffer | undefined {
    if (frame[2] !== S) return frame[9] === A ? undefined : frame;
    this.seq += 1;
    if (this.seq % 32 === 0) send(`{"type":"ack","seq":${this.seq}}`);
    const rest = frame.subarray(frame.indexOf(COMMA));
    rest[0] = OPEN;
    return rest;
  }
}
