import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** Milliseconds after which a node that has died is started again, under its name. */
const RESTART_AFTER = 5000;

export interface NodeOptions {
  name: string;
  /** Its URL. */
  redis: string;
  endpoint: string;
  token: string | undefined;
  allowedHosts: readonly string[] | undefined;
  agents: readonly string[];
  stream: boolean;
}

/** What a node tells about itself, twice a second. */
export interface NodeReport {
  port: number;
  sessions: number;
}

interface SupervisedNode {
  child: ChildProcess;
  /** Undefined while it does not run. */
  report: NodeReport | undefined;
}

/** Runs nodes as processes, and starts those again that die. */
export class Supervisor {
  readonly #options: Omit<NodeOptions, 'name'>;
  readonly #nodes = new Map<string, SupervisedNode>();
  #isStopping = false;

  constructor(options: Omit<NodeOptions, 'name'>) {
    this.#options = options;
  }

  /** The nodes that are to run. `sessions` is undefined while one does not. */
  get nodes(): { name: string; sessions: number | undefined }[] {
    return Array.from(this.#nodes, ([name, { report }]) => ({ name, sessions: report?.sessions }));
  }

  /** The ports of the nodes that run. */
  get ports(): number[] {
    return [...this.#nodes.values()].flatMap(({ report }) => (report === undefined ? [] : [report.port]));
  }

  /** Starts a node. Resolves when it listens. */
  async start(name: string): Promise<void> {
    const child = fork(new URL('node.js', import.meta.url), [JSON.stringify({ ...this.#options, name })]);
    const node: SupervisedNode = { child, report: undefined };
    this.#nodes.set(name, node);
    child.on('message', (report: NodeReport) => {
      node.report = report;
    });
    child.once('exit', () => {
      node.report = undefined;
      if (!this.#isStopping) setTimeout(() => !this.#isStopping && void this.start(name), RESTART_AFTER).unref();
    });
    await Promise.race([once(child, 'message'), once(child, 'exit')]);
  }

  /** Kills a node with SIGKILL. False if there is none of this name. */
  kill(name: string): boolean {
    return this.#nodes.get(name)?.child.kill('SIGKILL') === true;
  }

  /** Stops all nodes, as a deployment does. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(
      Array.from(this.#nodes.values(), async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exit = once(child, 'exit');
        child.kill('SIGTERM');
        await exit;
      }),
    );
  }
}
