/// <reference path="aliases.d.ts" />
import type { AgentSource, RelayOptions } from '@arc/thread-core';
import type { Attachable, VerifyClient } from '@arc/thread-core/host';
import express, { type ErrorRequestHandler, type Request, type RequestHandler } from 'express';
import expressWs from 'express-ws';
import express4 from 'express4';
import { type App, answers, closeServer, type Host, listening, type Site } from '../host.js';

/** What the contract needs of the adapter. */
type Arc = (
  options: RelayOptions & AgentSource,
) => RequestHandler & Attachable & { readonly verifyClient: VerifyClient };
type Known = Request & { user?: string };

export const express5Host = (adapter: Arc): Host => expressHost('express 5', adapter, express);
export const express4Host = (adapter: Arc): Host => expressHost('express 4', adapter, express4);

function expressHost(name: string, adapter: Arc, framework: typeof express): Host {
  return {
    name,
    unsupported: {},
    userOf: (context) => (context as Known).user,
    async listen(site): Promise<App> {
      const app = framework();
      app.set('env', 'test');
      app.set('trust proxy', site.isBehindProxy ?? false);
      const relays = site.relays.map(({ options }) => adapter(options));
      const path = (index: number): string => site.relays[index]?.path ?? '/ws';
      app.use(before(site));
      if (site.below === undefined) {
        relays.forEach((relay, index) => void app.use(path(index), relay));
      } else {
        // The first in an app below the app, the others in a Router, which does not tell the adapter of its server.
        const [first, ...rest] = relays;
        const router = framework.Router();
        const inner = framework();
        if (first !== undefined) inner.use(path(0), first);
        rest.forEach((relay, index) => void router.use(path(index + 1), relay));
        app.use(site.below, inner, router);
      }
      app.use(errors(site));
      const server = site.server?.(app) ?? app.listen(0, '127.0.0.1');
      if (site.server !== undefined) {
        site.beforeAttach?.(server);
        if (!site.isForgetful) for (const relay of relays) relay.attach(server);
        server.listen(0, '127.0.0.1');
      } else if (site.below !== undefined) {
        for (const relay of relays.slice(1)) relay.attach(server);
      }
      site.afterAttach?.(server);
      await listening(server);
      return { server, relays: relays.map(({ relay }) => relay), close: () => closeServer(server) };
    },
  };
}

/** An app that has express-ws already; with or without our `verifyClient`. */
export const expressWsHost = (adapter: Arc, { verifies }: { verifies: boolean }): Host => ({
  name: verifies ? 'express-ws with verifyClient' : 'express-ws',
  unsupported: {
    ...(verifies
      ? { context: 'express-ws asks `verifyClient` before it runs the app' }
      : {
          refusals:
            'express-ws accepts before it asks the relay; refused connections are closed with 4401, 4403 or 1013',
        }),
    middleware: 'express-ws answers 101 before it runs the app: a later answer of middleware only closes the socket',
    'not found': 'express-ws answers 101 on every path, and closes sockets that no route takes',
    coexistence: "express-ws takes every upgrade of its server, another library's too",
    'other protocols': 'express-ws answers 400 or 405 to a request that offers another protocol',
    pipelining: 'express-ws answers an upgrade at once, even if an earlier request has no answer yet',
    attach: 'express-ws listens for upgrades itself: there is nothing to attach',
  },
  userOf: (context) => (context as Known).user,
  async listen(site): Promise<App> {
    const app = express();
    app.set('env', 'test');
    app.set('trust proxy', site.isBehindProxy ?? false);
    const relays = site.relays.map(({ options }) => adapter(options));
    const server = site.server?.(app);
    const verifyClient: (typeof relays)[number]['verifyClient'] = (info, done) => {
      // Each accepts what is not its own, so all of them have to accept.
      const ask = (index: number): void => {
        const relay = relays[index];
        if (relay === undefined) done(true);
        else relay.verifyClient(info, (ok, ...refusal) => (ok ? ask(index + 1) : done(false, ...refusal)));
      };
      ask(0);
    };
    expressWs(app as unknown as expressWs.Application, server, {
      // Several relays on one server have the same options, but for the largest frame.
      wsOptions: { ...relays[0]?.relay.wsOptions, ...(verifies ? { verifyClient } : {}) },
    });
    app.use(before(site));
    const inner = express();
    const isBelow = site.below !== undefined;
    relays.forEach((relay, index) => void (isBelow ? inner : app).use(site.relays[index]?.path ?? '/ws', relay));
    if (isBelow) app.use(site.below as string, inner);
    app.use(errors(site));
    const listener = server?.listen(0, '127.0.0.1') ?? app.listen(0, '127.0.0.1');
    site.afterAttach?.(listener);
    await listening(listener);
    return { server: listener, relays: relays.map(({ relay }) => relay), close: () => closeServer(listener) };
  },
});

function before(site: Site): RequestHandler {
  return (request: Known, response, next) => {
    const verdict = site.before?.(request) ?? { user: '' };
    if (typeof verdict === 'number') response.status(verdict).json(answers.refused);
    else if (verdict instanceof Error) next(verdict);
    else if ('page' in verdict) verdict.page.pipe(response);
    else next(void Object.assign(request, verdict));
  };
}

function errors(site: Site): ErrorRequestHandler {
  return (error, _request, response, _next) => {
    site.onError(error);
    response.status(error.statusCode ?? 500).json(answers.failed(error));
  };
}
