import type { ClusterNode } from './cluster-node.js';

/** Asks another node to end the sessions of an identity. */
export interface EndSessionsMessage {
  type: 'end-sessions';
  key: string;
  /** Those that the store has of it: they end also if they come to a node later, because their owner has not heard this. */
  sids?: string[];
  /** Milliseconds since they were to be ended, if this is told later: what their user has begun since does not end. */
  ago?: number;
}

/**
 * Asks all other nodes. `isSettled`: the store has kept its data for a lease. A store that has just lost them does not know the nodes
 * that have not renewed their leases since: those are asked a lease later.
 */
export async function askOthers(node: ClusterNode, message: EndSessionsMessage, isSettled: boolean): Promise<void> {
  const { name, lease } = node.node;
  const asked = new Set([name]);
  const endedAt = performance.now();
  const ask = async (about: EndSessionsMessage): Promise<boolean> => {
    const names = await node.store.nodes();
    const others = names.filter((other) => !asked.has(other));
    await Promise.all(others.map((other) => node.store.post(other, { ...about })));
    for (const other of others) asked.add(other);
    return names.includes(name);
  };
  if ((await ask(message)) && isSettled) return;
  const askAgain = (): void => {
    ask({ ...message, ago: performance.now() - endedAt }).catch((err: unknown) =>
      node.logger.warn({ err }, 'a sign-out could not be told to all other nodes'),
    );
  };
  setTimeout(askAgain, lease).unref();
}
