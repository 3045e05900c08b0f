import type { IncomingMessage, Server } from 'node:http';
import { type AgentSource, createRelay, type RelayOptions, type RelaySocket } from '@arc/thread-core';
import {
  type Attachable,
  acceptUpgrade,
  admitUpgrade,
  closeWith,
  isPathOf,
  onAppListen,
  readPath,
  requestedHost,
  serveUpgrades,
  type VerifyClient,
  verifyClient,
  warnOfUnknownPath,
} from '@arc/thread-core/host';
import type { Application, NextFunction, Request, RequestHandler, Response } from 'express';

/** All of the relay's options, and where it is. `authenticate` gets the request as its second argument. */
export interface ExpressArcOptions<Identity = unknown> extends RelayOptions<Identity, Request> {
  /** The app, whose `listen` gives the server: needed in a Router, which does not know its app. */
  app?: Application;
  /** The whole path of the middleware: needed in a Router beside another library's WebSockets. */
  path?: string;
}

/** Express middleware, and the relay behind it. A Router does not know its server: pass `app`, or call `attach`. */
export interface ExpressArc<Identity = unknown> extends RequestHandler, Attachable<Identity, Request> {
  /** Lets express-ws refuse before it accepts: `expressWs(app, undefined, { wsOptions: { verifyClient } })`. */
  readonly verifyClient: VerifyClient;
}

export type { VerifyClient };

/** A request that express-ws has accepted already. */
type AcceptedRequest = Request & { ws?: RelaySocket; wsHandled?: boolean };

/** What Express makes of a sub-app when it is used; the path is a string or a RegExp, or several. */
type Mount = { mountpath?: unknown; parent?: App };
type App = Application & Mount & { ws?: unknown };

/** `app.use('/ws', arc({ endpoint, token }))`. */
function arc<Identity = unknown>(options: ExpressArcOptions<Identity> & AgentSource): ExpressArc<Identity> {
  const { app: root, path: option, ...relayOptions } = options;
  const given = option === undefined ? undefined : readPath(option);
  const relay = createRelay(relayOptions);
  const aboutOf = (req: Request) => ({ context: req, host: hostOf(req, req.app) });

  const handle = async (req: AcceptedRequest, res: Response, next: NextFunction): Promise<unknown> => {
    if (req.ws !== undefined && req.path === '/.websocket') {
      // express-ws has accepted it: without `verifyClient`, the session is authenticated after the upgrade.
      req.wsHandled = true;
      closeWith(serverOf(req), relay);
      return relay.attach(req.ws, req, aboutOf(req));
    }
    if (req.path !== '/') return next();
    const answer = await admitUpgrade(relay, req, { ...aboutOf(req), adapter: 'express-arc' });
    if (answer !== undefined) return res.status(answer.status).set(answer.headers).json(answer.body);
    // A session keeps its request. The response and the way to it would stay in memory as long, and Express makes the
    // parameters without a prototype, which takes more than twice the room.
    Object.assign(req, { res: undefined, next: undefined, _parsedUrl: undefined, params: { ...req.params } });
    acceptUpgrade(relay, req, 'express-arc');
  };

  const middleware = (req: Request, res: Response, next: NextFunction) => void handle(req, res, next).catch(next);
  const attach: ExpressArc['attach'] = (server, { path: attached = given } = {}) => {
    const path = attached === undefined ? undefined : readPath(attached);
    // Express tells a sub-app where it is mounted, but a Router does not.
    const isUnknown = (): boolean => path === undefined && self.mountpath === undefined;
    warnOfUnknownPath(server, relay, 'express-arc', isUnknown);
    serveUpgrades(server, relay, ({ url }) => isPathOf(url, paths(path)));
  };
  const paths = (path: string | undefined): string[] => (path === undefined ? pathsOf(self) : [path]);
  // In a Router only the option tells the app.
  const refuse = verifyClient(relay, (request) => hostOf(request, self.parent ?? root));
  const verify: VerifyClient = (info, done) => {
    // The app's other WebSocket routes are not the relay's.
    if (!isPathOf(info.req.url, paths(given))) return done(true);
    closeWith(serverOf(info.req), relay);
    refuse(info, done);
  };
  // With `handle`, `set` and `emit` it is a sub-app, and Express emits `mount` with the app that it is used in.
  const self: ExpressArc<Identity> & Mount = Object.assign(middleware, {
    relay,
    attach,
    verifyClient: verify,
    handle: middleware,
    set: true,
    emit: (_mount: string, app: App) => (root === undefined ? onAppListen(app, serve) : true),
  });
  const serve = (server: Server, { ws }: App): void => {
    // An app with express-ws answers its upgrades itself.
    if (ws !== undefined) closeWith(server, relay);
    else attach(server);
  };
  if (root !== undefined) onAppListen(root, serve);
  return self;
}

/** Where a sub-app is mounted, which may be several paths; what is not known is a variable. */
function pathsOf({ mountpath, parent }: Mount): string[] {
  const above = parent?.parent === undefined ? [''] : pathsOf(parent);
  const paths = [mountpath].flat().map((path) => (typeof path === 'string' ? path : '/:'));
  return above.flatMap((start) => paths.map((path) => start.replace(/\/$/, '') + path));
}

/** The host that the client asked for: X-Forwarded-Host, where the app's setting `trust proxy` names the peer. */
function hostOf(request: IncomingMessage, app: Application | undefined): string | undefined {
  const trusts = app?.get('trust proxy fn') as ((address: string | undefined, hop: number) => boolean) | undefined;
  return requestedHost(request, trusts?.(request.socket.remoteAddress, 0) ?? false);
}

function serverOf({ socket }: IncomingMessage): Server {
  return (socket as unknown as { server: Server }).server;
}

export default arc;
export { arc as 'module.exports' };
