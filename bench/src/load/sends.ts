import type WebSocket from 'ws';
import { isResumable, socketsOf } from './connections.js';
import { Acknowledger, FrameWriter, isLast } from './frames.js';
import { type Outcome, outcomeOf } from './outcome.js';

export interface Sends {
  /** The set of connections. */
  name: string;
  /** The agents to which each connection sends in turn. */
  agents: readonly string[];
  /** Total sends of all connections: a multiple of their number. */
  count: number;
  /** Size of a message in bytes; 0: a few words. */
  bytes: number;
  /** Number of events of a streamed answer; 0: not streamed. */
  events: number;
}

const acknowledgers = new WeakMap<WebSocket, Acknowledger>();

function acknowledgerOf(socket: WebSocket): Acknowledger {
  const acknowledger = acknowledgers.get(socket) ?? new Acknowledger((frame) => socket.send(frame));
  acknowledgers.set(socket, acknowledger);
  return acknowledger;
}

/** Sends over all connections of a set, one message at a time on each. Rejects if an answer or an event is missing. */
export function runSends({ name, agents, count, bytes, events }: Sends): Promise<Outcome> {
  const sockets = socketsOf(name);
  const frames = new FrameWriter(agents, bytes, events > 0);
  // All connections have the same share.
  const each = count / sockets.length;
  const latencies = new Float64Array(count);
  let answered = 0;
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const finish = (error?: unknown): void => {
      for (const socket of sockets) socket.removeAllListeners('message').removeAllListeners('close');
      if (error === undefined) resolve(outcomeOf(count, performance.now() - began, latencies));
      else reject(error);
    };
    const drive = (socket: WebSocket): void => {
      let n = 0;
      let received = 0;
      let at = 0;
      const acknowledger = isResumable(socket.url) ? acknowledgerOf(socket) : undefined;
      const send = (): void => {
        if (n === each) return;
        received = 0;
        at = performance.now();
        socket.send(frames.write(n++));
      };
      socket.on('close', (code) => finish(new Error(`A host closed a connection: ${code}`)));
      socket.on('message', (data) => {
        try {
          const frame = acknowledger === undefined ? (data as Buffer) : acknowledger.read(data as Buffer);
          // An acknowledgement is no part of an answer.
          if (frame === undefined) return;
          received += 1;
          if (!isLast(frame, events > 0)) return;
          if (events > 0 && received !== events + 1) throw new Error(`${received - 1} of ${events} events arrived`);
          latencies[answered] = performance.now() - at;
          answered += 1;
          if (answered === count) finish();
          else send();
        } catch (error) {
          finish(error);
        }
      });
      send();
    };
    for (const socket of sockets) drive(socket);
  });
}
