import type { IncomingMessage, Server } from 'node:http';
import { answerOf, type HttpAnswer, NOT_AN_UPGRADE } from '../relay/admission/handshake.js';
import { handshakeProblem } from '../relay/admission/handshake-check.js';
import { isUpgrade } from '../relay/admission/upgrade-socket.js';
import type { Relay } from '../relay/relay.js';
import { assertAttached, takeUpgrade } from './upgrade.js';

export type { HttpAnswer };

/** What the middleware of an adapter is, beside a function. */
export interface Attachable<Identity = unknown, Context = unknown> {
  readonly relay: Relay<Identity, Context>;
  /**
   * For apps whose own `listen` is not used: runs the server's upgrades through the app. `path` is the whole path of the
   * middleware. It is needed only beside another library's WebSockets, where the adapter cannot know it: in a Router, or
   * in an app that is mounted below another one.
   */
  attach(server: Server, options?: { path?: string }): void;
}

/** What an adapter knows of a request beside the request itself. */
export interface AdapterContext {
  /** The framework's own request object: given to `authenticate`. */
  context: unknown;
  /** The host that the client asked for, if the framework knows it better than the Host header: behind a proxy. */
  host?: string | undefined;
  /** The adapter's name, if only upgrades that came through `serveUpgrades` can be accepted. */
  adapter?: string | undefined;
}

/**
 * The response to a request that gets no WebSocket: because it did not ask for one, because its handshake
 * is invalid, or because the relay refuses it.
 * Undefined if its upgrade is to be accepted.
 * @throws NotAttachedError if the adapter was not given the server
 */
export async function admitUpgrade(
  relay: Relay,
  request: IncomingMessage,
  { context, host, adapter }: AdapterContext,
): Promise<HttpAnswer | undefined> {
  if (!isUpgrade(request)) return NOT_AN_UPGRADE;
  if (adapter !== undefined) assertAttached(request, adapter);
  const problem = handshakeProblem(request);
  if (problem !== undefined) return problem;
  const admission = await relay.admit(request, context, host);
  // If refusals are close codes, `attach` closes the connection.
  return relay.config.refuseWith === 'close' ? undefined : answerOf(admission);
}

/**
 * Completes the upgrade of a request that came through `serveUpgrades`, and attaches its socket to the relay.
 * @throws NotAttachedError if it did not
 */
export function acceptUpgrade(relay: Relay, request: IncomingMessage, adapter: string): void {
  relay.completeUpgrade(request, takeUpgrade(request, adapter), Buffer.alloc(0));
}

/** The option `verifyClient` of a ws server. */
export type VerifyClient = (
  info: { req: IncomingMessage },
  done: (isAllowed: boolean, status?: number, body?: string, headers?: Record<string, string>) => void,
) => void;

/** Lets a ws server refuse before it upgrades, as the adapters do. `hostOf` is for a framework that trusts a proxy. */
export function verifyClient(
  relay: Relay,
  hostOf: (request: IncomingMessage) => string | undefined = () => undefined,
): VerifyClient {
  return ({ req }, done) => {
    const refuse = ({ status, body }: HttpAnswer): void =>
      done(false, status, JSON.stringify(body), { 'Content-Type': 'application/json' });
    admitUpgrade(relay, req, { context: req, host: hostOf(req) }).then(
      (answer) => (answer === undefined ? done(true) : refuse(answer)),
      () => refuse({ status: 500, headers: {}, body: { error: 'The relay failed' } }),
    );
  };
}
