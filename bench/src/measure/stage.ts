import type { AgentApi } from '../agent.js';
import type { HostApi } from '../host.js';
import { type HostKind, pathOf } from '../hosts/kinds.js';
import type { LoadApi } from '../load.js';
import { Child } from '../process/child.js';

/** One host in its own process, with its own agents. */
export interface Host {
  readonly kind: HostKind;
  readonly process: Child<HostApi>;
  /** The URL for clients. */
  readonly url: string;
  /** The ports of its agents. */
  readonly agents: readonly number[];
}

/** The processes of one family of workloads. Every family starts new processes. */
export interface Stage extends AsyncDisposable {
  readonly agent: Child<AgentApi>;
  readonly load: Child<LoadApi>;
  readonly hosts: readonly Host[];
}

export async function startStage(kinds: readonly HostKind[], servers: number): Promise<Stage> {
  const agent = new Child<AgentApi>('agent');
  const load = new Child<LoadApi>('load');
  const children: { stop(): Promise<void> }[] = [agent, load];
  const startOne = async (kind: HostKind): Promise<Host> => {
    const process = new Child<HostApi>('host', [kind]);
    children.push(process);
    const agents: number[] = [];
    while (agents.length < servers) agents.push(await agent.call('listen'));
    const endpoints = agents.map((port) => `http://127.0.0.1:${port}/arc`);
    const port = await process.call('start', kind, endpoints);
    return { kind, process, url: `ws://127.0.0.1:${port}${pathOf(kind)}`, agents };
  };
  const stopAll = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.stop()));
  };
  try {
    const hosts = await Promise.all(kinds.map(startOne));
    return { agent, load, hosts, [Symbol.asyncDispose]: stopAll };
  } catch (error) {
    await stopAll();
    throw error;
  }
}
