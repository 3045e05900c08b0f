import type { Cell, Fault, Kind, World } from './cell.js';
import { receivedFrames } from './cell.js';
import { until } from './world.js';

/** Far more than the kernel's buffers hold, so that unread data must be queued elsewhere. */
const EVENTS = 800;
const LONG = { events: Array.from({ length: EVENTS }, () => ({ data: 'x'.repeat(65_534) })) };
const BIG = { reply: 'x'.repeat(12 * 1024 * 1024) };
/** The relay queues 1 MiB for a slow reader, plus what is arriving from the agent. */
const MOST = 2 * 1024 * 1024;

const complete: Record<Kind, string> = { JSON: 'response', stream: `content ×${EVENTS}, done` };

export const readerFaults: Fault[] = [
  {
    name: 'slow reader',
    about:
      'The client stops reading until the relay has stopped reading the agent; then it continues. ' +
      'A stream has 50 MB, a JSON answer 12 MB. At most 2 MB of a stream may be queued in the relay.',
    before: (kind) => slow(kind, 'stops before the send', ({ client }) => client.socket.pause()),
    middle: (kind) =>
      kind === 'JSON'
        ? 'a WebSocket client receives a JSON answer as one message'
        : slow(kind, 'stops after the first part', async (world) => {
            world.client.onFrame = () => world.client.socket.pause();
            await receivedFrames(world);
          }),
    after: (kind) => {
      let problem: string | undefined;
      return {
        how: 'stops after the last frame; the next answer is queued',
        between: (world) => {
          world.client.socket.pause();
          prepare(world, kind);
          void full(world, kind, 2).then((found) => {
            problem = found;
            resume(world);
          });
        },
        check: () => problem,
        told: `${kind === 'JSON' ? 'response' : 'content ×6, done'} · then ${complete[kind]}`,
        requests: 2,
        aborted: 0,
      };
    },
  },
];

function prepare({ agent }: World, kind: Kind): void {
  agent.script({ agentId: 'faulty' }, kind === 'JSON' ? BIG : LONG);
}

function resume({ client }: World): void {
  client.onFrame = () => {};
  client.socket.resume();
}

/** Resolves when the relay has stopped reading because of the client's queue: to the problem, if there is one. */
async function full({ relay, agent }: World, kind: Kind, request: number): Promise<string | undefined> {
  const [socket] = relay.server.clients;
  const queued = (): number => socket?.bufferedAmount ?? 0;
  const isRequested = (): boolean => agent.requests.filter(({ agentId }) => agentId === 'faulty').length >= request;
  try {
    await until(
      () => isRequested() && queued() > 1024 * 1024,
      () => `a full queue; ${queued()} bytes are queued`,
      20_000,
    );
  } catch (error) {
    return String(error);
  }
  if (kind === 'JSON') return undefined;
  if (queued() > MOST) return `${queued()} bytes are queued for a slow reader`;
  return agent.counters.running === 0 ? 'the complete stream was read' : undefined;
}

function slow(kind: Kind, how: string, stop: (world: World) => unknown): Cell {
  let problem: string | undefined;
  return {
    how,
    arrange: async (world) => {
      prepare(world, kind);
      if (kind === 'JSON' || how.includes('before')) await stop(world);
      else world.client.onFrame = () => world.client.socket.pause();
    },
    cause: async (world) => {
      problem = await full(world, kind, 1);
      resume(world);
    },
    check: () => problem,
    told: complete[kind],
    requests: 1,
    aborted: 0,
  };
}
