import type { Cell, Fault, Kind, World } from './cell.js';
import { heard } from './cell.js';
import { until } from './world.js';

/** Far more than the kernel's buffers take, so that what is not read has to wait somewhere. */
const EVENTS = 800;
const LONG = { events: Array.from({ length: EVENTS }, () => ({ data: 'x'.repeat(65_534) })) };
const BIG = { reply: 'x'.repeat(12 * 1024 * 1024) };
/** The relay keeps 1 MiB for a slow reader; what is just coming from the agent is on top. */
const MOST = 2 * 1024 * 1024;

const whole: Record<Kind, string> = { JSON: 'response', stream: `content ×${EVENTS}, done` };

export const readerFaults: Fault[] = [
  {
    name: 'slow reader',
    about:
      'The client stops reading until the relay has stopped reading the agent; then it reads on. ' +
      'A stream is of 50 MB, a JSON answer of 12 MB; at most 2 MB of a stream may wait in the relay.',
    before: (kind) => slow(kind, 'stops before the send', ({ client }) => client.socket.pause()),
    middle: (kind) =>
      kind === 'JSON'
        ? 'a WebSocket client gets a JSON answer as one message'
        : slow(kind, 'stops after the first piece', async (world) => {
            world.client.onFrame = () => world.client.socket.pause();
            await heard(world);
          }),
    after: (kind) => {
      let problem: string | undefined;
      return {
        how: 'stops after the last frame; the next answer waits',
        between: (world) => {
          world.client.socket.pause();
          prepare(world, kind);
          void full(world, kind, 2).then((found) => {
            problem = found;
            resume(world);
          });
        },
        check: () => problem,
        told: `${kind === 'JSON' ? 'response' : 'content ×6, done'} · then ${whole[kind]}`,
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

/** Resolves when so much waits for the client that the relay reads no more; to what is wrong with that, if anything. */
async function full({ relay, agent }: World, kind: Kind, request: number): Promise<string | undefined> {
  const [socket] = relay.server.clients;
  const waits = (): number => socket?.bufferedAmount ?? 0;
  const isAsked = (): boolean => agent.requests.filter(({ agentId }) => agentId === 'faulty').length >= request;
  try {
    await until(
      () => isAsked() && waits() > 1024 * 1024,
      () => `a full buffer; ${waits()} bytes wait`,
      20_000,
    );
  } catch (error) {
    return String(error);
  }
  if (kind === 'JSON') return undefined;
  if (waits() > MOST) return `${waits()} bytes wait for a slow reader`;
  return agent.counters.running === 0 ? 'the whole stream was read' : undefined;
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
    strike: async (world) => {
      problem = await full(world, kind, 1);
      resume(world);
    },
    check: () => problem,
    told: whole[kind],
    requests: 1,
    aborted: 0,
  };
}
