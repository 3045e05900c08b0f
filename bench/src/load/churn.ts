import { once } from 'node:events';
import { connect, untilReady } from './connections.js';
import { FrameWriter, isLast } from './frames.js';
import { type Outcome, outcomeOf } from './outcome.js';

/** Opens and closes connections, `atOnce` at a time. With an agent, one message is answered in between. */
export async function churn(url: string, count: number, atOnce: number, agent?: string): Promise<Outcome> {
  const frame = agent === undefined ? undefined : new FrameWriter([agent], 0, false).write(0);
  const latencies = new Float64Array(count);
  let begun = 0;
  const began = performance.now();
  const worker = async (): Promise<void> => {
    while (begun < count) {
      const index = begun;
      begun += 1;
      const at = performance.now();
      const socket = connect(url);
      await untilReady(socket);
      if (frame !== undefined) {
        socket.send(frame);
        const [answer] = await once(socket, 'message');
        isLast(answer, false);
      }
      const closed = once(socket, 'close');
      socket.close();
      await closed;
      latencies[index] = performance.now() - at;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return outcomeOf(count, performance.now() - began, latencies);
}
