import type { IncomingMessage, Server } from 'node:http';
import type { Relay } from './relay.js';
import { isUpgrade } from './server.js';

/** What the middleware of an adapter is, beside a function. */
export interface Attachable {
  readonly relay: Relay;
  /**
   * For apps whose own `listen` is not used: has the server's upgrades run through the app. `path` is the whole path of
   * the middleware. It is needed only beside another library's WebSockets, where the adapter cannot know it: in a
   * Router, or in an app that is mounted below another one.
   */
  attach(server: Server, options?: { path?: string }): void;
}

/** An answer in JSON. */
export interface HttpAnswer {
  status: number;
  headers: Record<string, string>;
  body: { error: string };
}

/**
 * What a request is answered that gets no WebSocket: because it did not ask for one, or because the relay does not let
 * it in. Undefined where it gets one. `context` is handed to `authenticate`.
 */
export async function answerInstead(
  relay: Relay,
  request: IncomingMessage,
  context: unknown,
): Promise<HttpAnswer | undefined> {
  if (!isUpgrade(request)) {
    // `Upgrade` may not be sent without naming it here (RFC 9110, 7.8).
    const headers = { connection: 'Upgrade, close', upgrade: 'websocket' };
    return { status: 426, headers, body: { error: 'Expected a WebSocket' } };
  }
  const admission = await relay.admit(request, context);
  // Where refusals are close codes, `attach` closes the connection.
  if ('identity' in admission || relay.config.refuseWith === 'close') return undefined;
  const { status, message } = admission.refused;
  return { status, headers: { connection: 'close' }, body: { error: message } };
}

/** What a ws server asks about each request, as its option `verifyClient`. */
export type VerifyClient = (
  info: { req: IncomingMessage },
  done: (isAllowed: boolean, status?: number, body?: string, headers?: Record<string, string>) => void,
) => void;

/** Has a ws server refuse before it upgrades, as the adapters do. */
export function verifyClient(relay: Relay): VerifyClient {
  return async ({ req }, done) => {
    const answer = await answerInstead(relay, req, req);
    if (answer === undefined) return done(true);
    done(false, answer.status, JSON.stringify(answer.body), { 'Content-Type': 'application/json' });
  };
}

/**
 * The `path` option of an adapter.
 * @throws TypeError where it is none
 */
export function readPath(path: unknown = '/ws'): string {
  if (typeof path !== 'string' || !path.startsWith('/')) throw new TypeError('path: must start with /');
  return path;
}

/** Calls back with the server that an app's own `listen` makes. */
export function onListen(app: { listen: (...args: never[]) => Server }, callback: (server: Server) => void): void {
  const { listen } = app;
  app.listen = (...args) => {
    const server = listen.apply(app, args);
    callback(server);
    return server;
  };
}
