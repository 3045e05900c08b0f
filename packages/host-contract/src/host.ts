import type { IncomingMessage, RequestListener, Server } from 'node:http';
import type { Readable } from 'node:stream';
import type { AgentSource, Relay, RelayOptions } from '@arc/thread-core';
import type { Test } from 'tap';
import { portOf } from './client.js';

/** Parts of the contract that a host may be unable to keep. */
type Capability =
  /** A refused request is answered before it is upgraded. */
  | 'refusals'
  /** The app's own middleware and hooks run before the upgrade, and may answer it. */
  | 'middleware'
  /** What the app's own middleware found out about a request reaches `authenticate`. */
  | 'context'
  /** An upgrade to an unknown path is answered with 404, as any request is. */
  | 'not found'
  /** A slash at the end of the path makes no difference. */
  | 'trailing slash'
  /** A plain GET on the path is answered 426. */
  | 'plain GET'
  /** Several relays in one app, with different paths and endpoints. */
  | 'several relays'
  /** It can be mounted below routers, sub-apps or prefixes. */
  | 'below'
  /** An app can bring its own server, http or https. */
  | 'own server'
  /** Other WebSocket libraries work on the same server. */
  | 'coexistence'
  /** A request that offers another protocol is a plain request. */
  | 'other protocols'
  /** An upgrade that is pipelined behind an unanswered request is not answered in the middle of that request's response. */
  | 'pipelining'
  /** An app that forgets to attach the adapter gets an error that says so. */
  | 'attach';

/** What an app does with a request before the relay sees it: identifies the user and continues, answers, or fails. */
type Before = (request: IncomingMessage) => { user: string } | { page: Readable } | number | Error;

interface RelayAt {
  /** Where clients connect. Default `/ws`. */
  path?: string;
  options: RelayOptions & AgentSource;
}

/** The app that a test wants. */
export interface Site {
  relays: RelayAt[];
  /** Everything is below this prefix, by the framework's own means. */
  below?: string | undefined;
  before?: Before | undefined;
  /** Makes the app's own server. Without it the framework's `listen` does. */
  server?: ((listener: RequestListener) => Server) | undefined;
  /** The app is behind a proxy that it trusts. */
  isBehindProxy?: boolean | undefined;
  /** The app forgets to attach the relays to its own server. */
  isForgetful?: boolean | undefined;
  /** Called with a server of the app's own before the relays are attached to it. */
  beforeAttach?: ((server: Server) => void) | undefined;
  /** Called with the server when the relays are attached, and before anybody connects. */
  afterAttach?: ((server: Server) => void) | undefined;
  /** What the framework itself has to report. */
  onError: (error: unknown) => void;
}

/** A running app. */
export interface App {
  server: Server;
  relays: Relay[];
  /** What an app calls at shutdown. */
  close(): Promise<void>;
}

/** A framework with its adapter. Everything that differs between hosts is here, and nothing else. */
export interface Host {
  name: string;
  /** What it cannot do, with the reason. */
  unsupported: { readonly [what in Capability]?: string };
  listen(site: Site): Promise<App>;
  /** The user that `before` found, in what the adapter hands to `authenticate`. */
  userOf(context: unknown): string | undefined;
}

/** Declares a test of the contract. A host that cannot keep it has said why, and skips it. */
export type Declare = (name: string, needs: Capability[], test: (t: Test) => Promise<void>) => void;

/** Resolves when the server listens on a free port. */
export function listening(server: Server): Promise<Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => resolve(server));
  });
}

/** `server.close()` as a promise; a server that is closed already is fine. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Has an app listen on a free port, which it gives, until the test ends. */
export async function listen(
  t: { teardown(end: () => unknown): unknown },
  app: { listen(port: number, host: string): Server },
): Promise<number> {
  const server = await listening(app.listen(0, '127.0.0.1'));
  t.teardown(() => closeServer(server));
  return portOf(server);
}

/** Answers of apps to what `before` says. */
export const answers = {
  refused: { error: 'The app says no' },
  failed: (error: unknown) => ({ error: `The app handles: ${(error as Error).message}` }),
};
