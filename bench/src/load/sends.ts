import type WebSocket from 'ws';
import { isCut, reconnect, sessionOf, socketsOf } from './connections.js';
import { FrameWriter, isLast } from './frames.js';
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
    const drive = (first: WebSocket): void => {
      let socket = first;
      let n = 0;
      let received = 0;
      let at = 0;
      const session = sessionOf(first);
      const send = (): void => {
        if (n === each) return;
        received = 0;
        at = performance.now();
        socket.send(frames.write(n++));
        if (session !== undefined) session.sent += 1;
      };
      const onClose = (code: number): void => finish(new Error(`A host closed a connection: ${code}`));
      const cut = async (): Promise<void> => {
        if (session === undefined) throw new Error('Only a resumable session can be cut');
        socket = await reconnect(name, socket, session, onMessage);
        socket.on('close', onClose);
      };
      const onMessage = (data: Buffer): void => {
        try {
          const frame = session === undefined ? data : session.read(data, (ack) => socket.send(ack));
          // An acknowledgement is no part of an answer.
          if (frame === undefined) return;
          received += 1;
          if (received === 1 && events > 0 && isCut(socket.url)) return void cut().catch(finish);
          if (!isLast(frame, events > 0)) return;
          if (events > 0 && received !== events + 1) throw new Error(`${received - 1} of ${events} events arrived`);
          latencies[answered] = performance.now() - at;
          answered += 1;
          if (answered === count) finish();
          else send();
        } catch (error) {
          finish(error);
        }
      };
      socket.on('close', onClose);
      socket.on('message', onMessage);
      send();
    };
    for (const socket of sockets) drive(socket);
  });
}
