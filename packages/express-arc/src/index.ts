import type { IncomingMessage, Server } from 'node:http';
import {
  type Attachable,
  answerInstead,
  closeWith,
  createRelay,
  isBelow,
  onListen,
  type RelayOptions,
  serveUpgrades,
  takeUpgrade,
  type VerifyClient,
  verifyClient,
} from '@arc/thread-core';
import type { Application, NextFunction, Request, RequestHandler, Response } from 'express';
import { type WebSocket, WebSocketServer } from 'ws';

/** Express middleware, and the relay behind it. A Router does not know its server: `attach` it. */
export interface ExpressArc extends RequestHandler, Attachable {
  /** Lets express-ws refuse before it accepts: `expressWs(app, undefined, { wsOptions: { verifyClient } })`. */
  readonly verifyClient: VerifyClient;
}

export type { VerifyClient };

/** A request that express-ws has accepted already. */
type AcceptedRequest = Request & { ws?: WebSocket; wsHandled?: boolean };

/** What Express makes of a sub-app when it is used; the path is a string or a RegExp, or several. */
type Place = { mountpath?: unknown; parent?: App };
type App = Application & Place & { ws?: unknown };

/** `app.use('/ws', arc({ endpoint, token }))`. The options are the relay's. */
function arc(options: RelayOptions): ExpressArc {
  const relay = createRelay(options);
  // The relay knows its sockets itself.
  const sockets = new WebSocketServer({ noServer: true, clientTracking: false, ...relay.wsOptions });

  const handle = async (req: AcceptedRequest, res: Response, next: NextFunction): Promise<unknown> => {
    if (req.ws !== undefined && req.path === '/.websocket') {
      // What express-ws has accepted without `verifyClient`, the session asks about.
      req.wsHandled = true;
      closeWith(serverOf(req), relay);
      return relay.attach(req.ws, req, { context: req });
    }
    if (req.path !== '/') return next();
    const answer = await answerInstead(relay, req, req);
    if (answer !== undefined) return res.status(answer.status).set(answer.headers).json(answer.body);
    const socket = takeUpgrade(req, 'express-arc');
    // The answer that there will not be, and the way to it, would stay in memory as long as the connection; and Express
    // makes the parameters without a prototype, which takes more than twice the room.
    Object.assign(req, { res: undefined, next: undefined, _parsedUrl: undefined, params: { ...req.params } });
    sockets.handleUpgrade(req, socket, Buffer.alloc(0), (webSocket) => relay.attach(webSocket, req));
  };

  const middleware = (req: Request, res: Response, next: NextFunction) => void handle(req, res, next).catch(next);
  const attach: ExpressArc['attach'] = (server, { path } = {}) => {
    serveUpgrades(server, relay, (request) => isBelow(request, path === undefined ? pathsOf(self) : [path]));
  };
  const refuse = verifyClient(relay);
  const verify: VerifyClient = (info, done) => {
    // The app's other WebSocket routes are its own affair.
    if (!isBelow(info.req, pathsOf(self))) return done(true);
    closeWith(serverOf(info.req), relay);
    refuse(info, done);
  };
  // With `handle`, `set` and `emit` it is a sub-app, and is told of the app that it is used in.
  const self: ExpressArc & Place = Object.assign(middleware, {
    relay,
    attach,
    verifyClient: verify,
    handle: middleware,
    set: true,
    emit: (_mount: string, app: App) =>
      whenListening(app, (server, { ws }) => {
        // An app with express-ws answers its upgrades itself.
        if (ws !== undefined) closeWith(server, relay);
        else attach(server);
      }),
  });
  return self;
}

/** Calls back with the server that an app, or an app that it is a part of, makes when it listens. */
function whenListening(app: App, callback: (server: Server, app: App) => void): true {
  onListen(app, (server) => callback(server, app));
  app.on('mount', (parent: App) => whenListening(parent, callback));
  return true;
}

/** Where a sub-app is, which may be several places; what is not known is a variable. */
function pathsOf({ mountpath, parent }: Place): string[] {
  const above = parent?.parent === undefined ? [''] : pathsOf(parent);
  const paths = [mountpath].flat().map((path) => (typeof path === 'string' ? path : '/:'));
  return above.flatMap((start) => paths.map((path) => start.replace(/\/$/, '') + path));
}

function serverOf({ socket }: IncomingMessage): Server {
  return (socket as unknown as { server: Server }).server;
}

export default arc;
export { arc as 'module.exports' };
