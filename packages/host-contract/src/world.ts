import type { Logger, RelayOptions } from '@arc/thread-core';
import { startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import type { ClientOptions } from 'ws';
import { Client, portOf, until, withDeadline } from './client.js';
import type { App, Host, Site } from './host.js';

/** What a test needs of tap's. */
export interface Teardown {
  teardown(end: () => unknown): unknown;
}

/** Keeps what the relay and the framework log, except for debug lines. */
class Log {
  readonly lines: string[] = [];
  readonly errors: unknown[] = [];
  readonly logger: Logger = {
    debug: () => {},
    info: (_about: object, line: string) => void this.lines.push(line),
    warn: (_about: object, line: string) => void this.lines.push(line),
    error: (_about: object, line: string) => void this.lines.push(line),
  };
  readonly onError = (error: unknown): void => {
    this.errors.push(error);
    this.lines.push(String(error));
  };
}

export interface World {
  agent: TestAgent;
  app: App;
  log: Log;
  port: number;
  /** Where clients connect. */
  url: string;
  connect(options?: ClientOptions): Promise<Client>;
}

export type WorldOptions = Omit<Partial<Site>, 'relays'> & {
  options?: Partial<RelayOptions>;
  relays?: (endpoint: string) => Site['relays'];
  scheme?: 'ws' | 'wss';
};

/** An agent, and an app on that host with a relay to it. Both end with the test. */
export async function world(t: Teardown, host: Host, wanted: WorldOptions = {}): Promise<World> {
  const { options, relays, scheme = 'ws', ...site } = wanted;
  const agent = await startTestAgent();
  const log = new Log();
  const given = { endpoint: agent.endpoint, logger: log.logger, cleanupTimeout: 2000, ...options };
  const app = await host.listen({
    onError: log.onError,
    relays: relays?.(agent.endpoint) ?? [{ options: given }],
    ...site,
  });
  t.teardown(async () => {
    await withDeadline(app.close(), 'the app to close').finally(() => agent.close());
  });
  const port = portOf(app.server);
  const url = `${scheme}://127.0.0.1:${port}${site.below ?? ''}/ws`;
  return { agent, app, log, port, url, connect: (more) => Client.open(url, more) };
}

/** Connections that a server has. */
export function connections({ server }: App): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

export function allGone(app: App): Promise<void> {
  return until(async () => (await connections(app)) === 0, 'all connections are gone');
}
