import type { Host, Stage } from '../measure/stage.js';
import type { Workload } from './types.js';

/** Number of chats that were ended at a host's agents. */
function endsOf({ agent }: Stage, { agents: [port = 0] }: Host): Promise<number> {
  return agent.call('ends', port);
}

async function untilEnds({ agent }: Stage, { agents: [port = 0] }: Host, count: number): Promise<void> {
  await agent.call('untilEnds', port, count);
}

/** Opens and closes connections, with or without a chat, 32 at a time. */
export function churn(name: string, count: number, withChat: boolean): Workload {
  return {
    name,
    unit: 'connection',
    x: withChat ? 1 : 0,
    unitsEach: 1,
    slices: 1,
    batch: async (stage, host) => {
      const before = withChat ? await endsOf(stage, host) : 0;
      const outcome = await stage.load.call('churn', host.url, count, 32, ...(withChat ? ['support'] : []));
      if (withChat) await untilEnds(stage, host, before + count);
      return outcome;
    },
  };
}

/** Closes connections with several chats each at once. A batch ends when the agents have received every chat.end. */
export function endOfChats(name: string, connections: number, chats: number): Workload {
  const agents = Array.from({ length: chats }, (_, n) => `support-${n}`);
  const setOf = (host: Host): string => `${name} ${host.kind}`;
  return {
    name,
    unit: 'chat',
    x: chats,
    unitsEach: 1,
    slices: 1,
    prepare: async ({ load }, host) => {
      await load.call('open', setOf(host), host.url, connections);
      const count = connections * chats;
      await load.call('send', { name: setOf(host), agents, bytes: 0, events: 0, count });
    },
    batch: async (stage, host) => {
      const count = connections * chats;
      const before = await endsOf(stage, host);
      const began = performance.now();
      await stage.load.call('close', setOf(host));
      await untilEnds(stage, host, before + count);
      const elapsed = performance.now() - began;
      return { count, elapsed, p50: elapsed, p99: elapsed };
    },
  };
}
