import { faults } from '@arc/thread-core/testing';
import { asked, type Cell, type Fault, heard, type Kind, type World } from './cell.js';
import { until } from './world.js';

/** How much of a body has come when it is in the middle: for a stream one event, and a part of the next. */
export const HALF: Record<Kind, number> = { JSON: 10_000, stream: 200 };
/** What a right answer is, and what one is that breaks off. */
export const WHOLE: Record<Kind, string> = { JSON: 'response', stream: 'content ×6, done' };
export const BROKEN: Record<Kind, string> = { JSON: 'error −41003', stream: 'content, error −43104' };

/** An answer that is longer than that. */
export const REPLY: Record<Kind, string | string[]> = { JSON: 'x'.repeat(20_000), stream: ['one ', 'two ', 'three '] };

/** The agent has got the request, and says nothing; then something happens. */
function silent(how: string, strike?: (world: World) => unknown): Cell {
  return {
    how,
    arrange: ({ agent }) => agent.script({ agentId: 'faulty' }, faults.hang()),
    strike: async (world) => {
      await asked(world);
      await strike?.(world);
    },
    told: 'error −41003',
    requests: 1,
    aborted: 1,
  };
}

/** The agent says half of its answer, and no more; once that has come, something happens. */
function half(kind: Kind, how: string, strike?: (world: World) => unknown): Cell {
  return {
    how,
    arrange: ({ agent }) =>
      agent.script({ agentId: 'faulty' }, { reply: REPLY[kind], after: HALF[kind], finish: 'stall' }),
    strike: async (world) => {
      if (kind === 'stream') await heard(world);
      else await until(() => world.proxy.passed >= HALF.JSON, 'a part of the answer');
      await strike?.(world);
    },
    told: BROKEN[kind],
    requests: 1,
    aborted: 1,
  };
}

/** The stream has said `done`, but its HTTP message does not end; then something happens. */
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

/** The answer is complete; something happens to the connection, or the next send meets it. */
export function next(
  kind: Kind,
  how: string,
  between: (world: World) => unknown,
  then: string,
  requests: number,
): Cell {
  return { how, between, told: `${WHOLE[kind]} · then ${then}`, requests, aborted: 0 };
}

/** No name server need be asked for that: a label has at most 63 characters. */
const NOWHERE = `http://${'x'.repeat(64)}.invalid/arc`;

/** The agent is where nobody finds it. */
const nowhere = (world: World): void => {
  world.address = NOWHERE;
};

export const connectionFaults: Fault[] = [
  {
    name: 'connection refused',
    before: () => ({
      how: 'nothing listens',
      arrange: ({ proxy }) => proxy.refuse(),
      told: 'error −41003',
      requests: 0,
      aborted: 0,
    }),
    middle: () => 'a connection that is made cannot be refused any more',
    after: (kind) =>
      next(kind, 'connections are closed, and nothing listens', ({ proxy }) => proxy.refuse(), 'error −41003', 1),
  },
  {
    name: 'DNS failure',
    before: () => ({
      how: 'the host has no address',
      arrange: nowhere,
      told: 'error −41003',
      requests: 0,
      aborted: 0,
    }),
    middle: () => 'a connection that is made needs no name any more',
    after: (kind) => next(kind, 'the host has no address any more', nowhere, 'error −41003', 1),
  },
  {
    name: 'reset',
    before: () => silent('RST while the agent works', ({ proxy }) => proxy.reset()),
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
      return { ...half(kind, 'the agent falls silent after a part of the body'), told, stalls: true };
    },
    after: (kind) => {
      if (kind === 'stream') return lingering('`done` has come, but the HTTP message never ends');
      const hang = ({ agent }: World): void => agent.script({ agentId: 'faulty' }, faults.hang());
      const cell = next(kind, 'the agent never answers what comes next', hang, 'error −41006', 2);
      return { ...cell, aborted: 1, stalls: true };
    },
  },
  {
    name: 'truncated body',
    about: 'The connection is closed (FIN) before the HTTP message is complete.',
    before: () => silent('FIN while the agent works', ({ proxy }) => proxy.cut()),
    middle: (kind) => half(kind, 'FIN after a part of the body', ({ proxy }) => proxy.cut()),
    after: (kind) => {
      if (kind === 'stream') return lingering('FIN after `done`, without the last chunk', ({ proxy }) => proxy.cut());
      const body = JSON.stringify({ arc: '1.0', id: 1, result: { type: 'chat', chat: { chatId: 'x' } }, error: null });
      const head = `HTTP/1.1 200 OK\r\ncontent-type: application/arc+json\r\ncontent-length: ${body.length + 9}\r\n\r\n`;
      return {
        how: 'all of the JSON comes, but `content-length` has announced more',
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
      const spoil = ({ proxy }: World): void => proxy.inject(Buffer.from('this is no TLS record'));
      return { ...half(kind, 'bytes that are no TLS record come after a part of the body', spoil), tls: true };
    },
    after: (kind) => {
      const distrust = ({ tls, proxy }: World): Promise<void> => {
        tls?.trust(false);
        return proxy.cut();
      };
      const how = 'the next connection shows a certificate that is not trusted';
      return { ...next(kind, how, distrust, 'error −41003', 1), tls: true };
    },
  },
  {
    name: 'half-open socket',
    about: 'The network between relay and agent swallows everything, and nobody is told (no FIN, no RST).',
    before: () => swallowed(-1, 'before the answer', 'error −41006'),
    middle: (kind) =>
      swallowed(HALF[kind], 'after a part of the body', kind === 'JSON' ? 'error −41006' : 'content, error −43104'),
    after: (kind) => ({
      ...next(kind, 'the idle connection is dead', ({ proxy }) => proxy.silence(), 'error −41006', 1),
      stalls: true,
    }),
  },
  {
    name: "half-open socket, the client's side",
    about: 'The network between client and relay swallows everything. Two missed heartbeats tell the relay.',
    before: () =>
      gone(
        silent('while the agent works', ({ front }) => front.silence()),
        'nothing',
        1,
      ),
    middle: (kind) => {
      const cell = half(kind, 'after a part of the body', ({ front }) => front.silence());
      return gone(cell, kind === 'JSON' ? 'nothing' : 'content', 1);
    },
    after: (kind) => {
      const strike = async (world: World): Promise<void> => {
        await world.client.told('first');
        world.front.silence();
      };
      return gone({ how: 'while nothing runs', strike, told: '', requests: 1, aborted: 0 }, WHOLE[kind], 0);
    },
  },
];

function swallowed(after: number, how: string, told: string): Cell {
  let held: Promise<void>;
  return {
    how,
    stalls: true,
    arrange: ({ agent, proxy, kind }) => {
      agent.script({ agentId: 'faulty' }, { reply: REPLY[kind] });
      held = proxy.hold(after);
    },
    strike: async ({ proxy }) => {
      await held;
      proxy.silence();
    },
    told,
    requests: 1,
    aborted: 0,
  };
}

function gone(cell: Cell, told: string, aborted: number): Cell {
  return { ...cell, told, aborted, lost: true };
}
