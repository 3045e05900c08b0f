import { faults } from '@arc/thread-core/testing';
import { type Cell, type Fault, type Kind, receivedFrames, requestArrived, type World } from './cell.js';
import { until } from './world.js';

/** Number of bytes of the body that count as its middle. For a stream: one event and a part of the next. */
export const HALF: Record<Kind, number> = { JSON: 10_000, stream: 200 };
/** The frames of a complete answer, and of a truncated one. */
export const WHOLE: Record<Kind, string> = { JSON: 'response', stream: 'content ×6, done' };
export const BROKEN: Record<Kind, string> = { JSON: 'error −41003', stream: 'content, error −43104' };

/** An answer that is longer than `HALF`. */
export const REPLY: Record<Kind, string | string[]> = { JSON: 'x'.repeat(20_000), stream: ['one ', 'two ', 'three '] };

/** The agent has received the request and does not answer. Then the fault happens. */
function silent(how: string, cause?: (world: World) => unknown): Cell {
  return {
    how,
    arrange: ({ agent }) => agent.script({ agentId: 'faulty' }, faults.hang()),
    cause: async (world) => {
      await requestArrived(world);
      await cause?.(world);
    },
    told: 'error −41003',
    requests: 1,
    aborted: 1,
  };
}

/** The agent sends half of its answer. When that has arrived, the fault happens. */
function half(kind: Kind, how: string, cause?: (world: World) => unknown): Cell {
  return {
    how,
    arrange: ({ agent }) =>
      agent.script({ agentId: 'faulty' }, { reply: REPLY[kind], after: HALF[kind], finish: 'stall' }),
    cause: async (world) => {
      if (kind === 'stream') await receivedFrames(world);
      else await until(() => world.proxy.passed >= HALF.JSON, 'a part of the answer');
      await cause?.(world);
    },
    told: BROKEN[kind],
    requests: 1,
    aborted: 1,
  };
}

/** The stream has sent `done`, but the HTTP message does not end. Then the fault happens. */
function lingering(how: string, between: (world: World) => unknown = () => {}): Cell {
  const events = ['event: stream\ndata: {"n":1}\n\n', 'event: done\ndata: {}\n\n'];
  return {
    how,
    arrange: ({ agent }) => agent.script({ agentId: 'faulty' }, { events, finish: 'stall' }),
    between,
    told: `content, done · then ${WHOLE.stream}`,
    requests: 2,
    aborted: 1,
  };
}

/** The answer is complete. Then the fault happens to the connection, or the next send meets it. */
export function next(
  kind: Kind,
  how: string,
  between: (world: World) => unknown,
  then: string,
  requests: number,
): Cell {
  return { how, between, told: `${WHOLE[kind]} · then ${then}`, requests, aborted: 0 };
}

/** Fails without a name server, because a label has at most 63 characters. */
const UNRESOLVABLE = `http://${'x'.repeat(64)}.invalid/arc`;

/** Gives the agent a host name that has no address. */
const unresolve = (world: World): void => {
  world.address = UNRESOLVABLE;
};

export const connectionFaults: Fault[] = [
  {
    name: 'connection refused',
    before: () => ({
      how: 'no server listens',
      arrange: ({ proxy }) => proxy.refuse(),
      told: 'error −41003',
      requests: 0,
      aborted: 0,
    }),
    middle: () => 'an open connection cannot be refused',
    after: (kind) =>
      next(kind, 'connections are closed, and no server listens', ({ proxy }) => proxy.refuse(), 'error −41003', 1),
  },
  {
    name: 'DNS failure',
    before: () => ({
      how: 'the host has no address',
      arrange: unresolve,
      told: 'error −41003',
      requests: 0,
      aborted: 0,
    }),
    middle: () => 'an open connection needs no name',
    after: (kind) => next(kind, 'the host no longer has an address', unresolve, 'error −41003', 1),
  },
  {
    name: 'reset',
    before: () => silent('RST while the agent is working', ({ proxy }) => proxy.reset()),
    middle: (kind) => half(kind, 'RST after a part of the body', ({ proxy }) => proxy.reset()),
    after: (kind) =>
      kind === 'JSON'
        ? next(kind, 'RST of the idle connection', ({ proxy }) => proxy.reset(), 'response', 2)
        : lingering('RST after `done`, before the HTTP message ends', ({ proxy }) => proxy.reset()),
  },
  {
    name: 'stall',
    before: () => ({ ...silent('the agent never answers'), told: 'error −41006', stalls: true }),
    middle: (kind) => {
      const told = kind === 'JSON' ? 'error −41006' : 'content, error −43104';
      return { ...half(kind, 'the agent stops after a part of the body'), told, stalls: true };
    },
    after: (kind) => {
      if (kind === 'stream') return lingering('`done` has arrived, but the HTTP message never ends');
      const hang = ({ agent }: World): void => agent.script({ agentId: 'faulty' }, faults.hang());
      const cell = next(kind, 'the agent never answers the next request', hang, 'error −41006', 2);
      return { ...cell, aborted: 1, stalls: true };
    },
  },
  {
    name: 'truncated body',
    about: 'The connection is closed (FIN) before the HTTP message is complete.',
    before: () => silent('FIN while the agent is working', ({ proxy }) => proxy.cut()),
    middle: (kind) => half(kind, 'FIN after a part of the body', ({ proxy }) => proxy.cut()),
    after: (kind) => {
      if (kind === 'stream') return lingering('FIN after `done`, without the last chunk', ({ proxy }) => proxy.cut());
      const body = JSON.stringify({ arc: '1.0', id: 1, result: { type: 'chat', chat: { chatId: 'x' } }, error: null });
      const head = `HTTP/1.1 200 OK\r\ncontent-type: application/arc+json\r\ncontent-length: ${body.length + 9}\r\n\r\n`;
      return {
        how: 'the JSON is complete, but `content-length` is larger',
        arrange: ({ agent }) => agent.script({ agentId: 'faulty' }, { raw: [head + body] }),
        told: 'error −41003',
        requests: 1,
        aborted: 0,
      };
    },
  },
  {
    name: 'TLS failure',
    before: () => ({
      how: 'the certificate is not trusted',
      tls: true,
      arrange: ({ tls }) => tls?.trust(false),
      told: 'error −41003',
      requests: 0,
      aborted: 0,
    }),
    middle: (kind) => {
      const corrupt = ({ proxy }: World): void => proxy.inject(Buffer.from('not a TLS record'));
      return { ...half(kind, 'invalid TLS records after a part of the body', corrupt), tls: true };
    },
    after: (kind) => {
      const distrust = ({ tls, proxy }: World): Promise<void> => {
        tls?.trust(false);
        return proxy.cut();
      };
      const how = 'the next connection has a certificate that is not trusted';
      return { ...next(kind, how, distrust, 'error −41003', 1), tls: true };
    },
  },
  {
    name: 'half-open socket',
    about: 'The network between relay and agent drops all packets without a sign (no FIN, no RST).',
    before: () => dropped(-1, 'before the answer', 'error −41006'),
    middle: (kind) =>
      dropped(HALF[kind], 'after a part of the body', kind === 'JSON' ? 'error −41006' : 'content, error −43104'),
    after: (kind) => ({
      ...next(kind, 'the idle connection is dead', ({ proxy }) => proxy.silence(), 'error −41006', 1),
      stalls: true,
    }),
  },
  {
    name: "half-open socket, the client's side",
    about: 'The network between client and relay drops all packets. The relay notices by missed heartbeats.',
    before: () =>
      clientLost(
        silent('while the agent is working', ({ front }) => front.silence()),
        'nothing',
        1,
      ),
    middle: (kind) => {
      const cell = half(kind, 'after a part of the body', ({ front }) => front.silence());
      return clientLost(cell, kind === 'JSON' ? 'nothing' : 'content', 1);
    },
    after: (kind) => {
      const cause = async (world: World): Promise<void> => {
        await world.client.answerTo('first');
        world.front.silence();
      };
      return clientLost({ how: 'while nothing is running', cause, told: '', requests: 1, aborted: 0 }, WHOLE[kind], 0);
    },
  },
];

function dropped(after: number, how: string, told: string): Cell {
  let held: Promise<void>;
  return {
    how,
    stalls: true,
    arrange: ({ agent, proxy, kind }) => {
      agent.script({ agentId: 'faulty' }, { reply: REPLY[kind] });
      held = proxy.hold(after);
    },
    cause: async ({ proxy }) => {
      await held;
      proxy.silence();
    },
    told,
    requests: 1,
    aborted: 0,
  };
}

function clientLost(cell: Cell, told: string, aborted: number): Cell {
  return { ...cell, told, aborted, lost: true };
}
