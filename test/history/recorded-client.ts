import { deferred } from '@arc/test-client';
import {
  createThreadClient,
  type ThreadClient,
  type ThreadClientError,
  type Turn,
  type WebSocketConstructor,
} from '@arc/thread-client';
import type { RelayFrame } from '@arc/thread-protocol';
import { WebSocket } from 'ws';
import { answerTo, type Question, write } from './answers.js';
import type { ClientRecord, Excuse, History, SendRecord } from './history.js';

export interface RecordedSend {
  readonly record: SendRecord;
  readonly turn: Turn;
  /** The application knows how it ended. */
  readonly settled: Promise<void>;
}

export interface RecordedSendOptions {
  stream: boolean;
  agentId: string;
  contextId: string;
  /** Reads no further piece before this resolves. */
  reading?: Promise<void> | undefined;
}

let sockets = 0;

/** A real client whose history is recorded: calls and results of the application, and frames on the wire. */
export class RecordedClient {
  readonly record: ClientRecord;
  readonly client: ThreadClient;
  readonly sends: RecordedSend[] = [];
  /** The token of its latest session, and the last frame that it has seen. */
  session: string | undefined;
  seq = 0;
  /** Excuses for all sends until they are withdrawn. */
  readonly #excuses = new Set<Excuse>();
  readonly #closing = deferred();
  #online: { promise: Promise<void>; resolve(): void } | undefined;

  constructor(history: History, name: string, url: string) {
    const record: ClientRecord = { name, prefix: undefined, log: [], wire: [] };
    this.record = record;
    history.clients.push(record);
    this.client = createThreadClient({
      url: async () => {
        await this.#online?.promise;
        return url;
      },
      WebSocket: this.#recordingSocket(),
      backoff: { min: 1, max: 50 },
    });
    this.client.on('lost', () => record.log.push({ type: 'lost' }));
  }

  /** Its session is established on a connection, as far as it knows. */
  get isConnected(): boolean {
    return this.client.state.status === 'open';
  }

  get pending(): RecordedSend[] {
    return this.sends.filter(({ record }) => record.outcomes.length === 0);
  }

  send(question: Question, { agentId, contextId, stream, reading }: RecordedSendOptions): RecordedSend {
    const turn = this.client.send(agentId, write(question), { contextId, stream });
    this.record.prefix ??= turn.id.slice(0, turn.id.lastIndexOf('-') + 1);
    const pieces = answerTo(question);
    const record: SendRecord = {
      type: 'send',
      label: question.label,
      id: turn.id,
      thread: threadOf(agentId, contextId),
      sentAt: performance.now(),
      expected: stream ? pieces : [pieces.join('')],
      heard: [],
      excuses: new Set(this.#excuses),
      cancelled: false,
      outcomes: [],
    };
    this.record.log.push(record);
    const closing = reading && Promise.race([reading, this.#closing.promise]);
    const send = { record, turn, settled: listen(turn, record, closing) };
    this.sends.push(send);
    return send;
  }

  cancel({ record, turn }: RecordedSend): void {
    record.cancelled = true;
    turn.cancel();
  }

  end(agentId: string, contextId: string): Promise<void> {
    const thread = threadOf(agentId, contextId);
    for (const { record } of this.pending) if (record.thread === thread) record.excuses.add('end');
    this.record.log.push({ type: 'end', thread });
    // The checker looks at what is left at the agent, and not at whether this was confirmed.
    return this.client.end(agentId, { contextId }).catch(() => undefined);
  }

  /** From now on sends may end for this reason. Returns what withdraws the excuse for sends to come. */
  excuse(reason: Excuse): () => void {
    for (const { record } of this.pending) record.excuses.add(reason);
    this.#excuses.add(reason);
    return () => this.#excuses.delete(reason);
  }

  /** New connections wait until it is online again. */
  goOffline(): void {
    this.#online ??= deferred();
  }

  goOnline(): void {
    this.#online?.resolve();
    this.#online = undefined;
  }

  async close(): Promise<void> {
    this.goOnline();
    this.excuse('closed');
    this.#closing.resolve();
    await this.client.close();
    await Promise.all(this.sends.map(({ settled }) => settled));
  }

  #recordingSocket(): WebSocketConstructor {
    const owner = this;
    return class extends WebSocket {
      /** The cursor of the resume frame that was sent, and when that was. */
      #cursor = 0;
      #askedAt = 0;

      constructor(url: string, protocols?: string | string[]) {
        super(url, protocols);
        const socket = ++sockets;
        this.on('message', (data) =>
          owner.#onFrame({ socket, cursor: this.#cursor, askedAt: this.#askedAt }, String(data)),
        );
      }

      override send(text: string): void {
        const frame = JSON.parse(text) as { type?: string; seq?: number };
        if (frame.type === 'resume') {
          this.#cursor = frame.seq ?? 0;
          this.#askedAt = performance.now();
        }
        super.send(text);
      }
    };
  }

  #onFrame(asked: { socket: number; cursor: number; askedAt: number }, text: string): void {
    const frame = JSON.parse(text) as RelayFrame;
    this.record.wire.push({ ...asked, at: performance.now(), frame, text });
    if (frame.type === 'ready') {
      this.session = frame.session;
      if (frame.resumed !== true) this.seq = 0;
    } else if ('seq' in frame && frame.type !== 'ack') this.seq = Math.max(this.seq, frame.seq ?? 0);
  }
}

function threadOf(agentId: string, contextId: string): string {
  return `${agentId} ${contextId}`;
}

async function listen(turn: Turn, record: SendRecord, reading: Promise<void> | undefined): Promise<void> {
  try {
    for await (const { text } of turn) {
      record.heard.push(text);
      await reading;
    }
  } catch {
    // Its result tells.
  }
  await turn.result.then(
    () => record.outcomes.push({ type: 'done', at: performance.now(), restarted: turn.restarted }),
    (error: ThreadClientError & { reason?: string }) => {
      const { name, code, reason = error.message } = error;
      const at = performance.now();
      record.outcomes.push({ type: 'failed', at, error: name, code, reason });
    },
  );
}
