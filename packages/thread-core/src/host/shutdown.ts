import type { Server } from 'node:http';
import type { Relay } from '../relay/relay.js';

/** For each server, the relays to close with it, and whether that has begun. */
const closing = new WeakMap<Server, { relays: Set<Relay>; hasBegun: boolean }>();

/** Closes the relay when the server is closed: `http.Server` has no hook for it, and waits for open sockets for ever. */
export function closeWith(server: Server, relay: Relay): void {
  const known = closing.get(server);
  if (known !== undefined) {
    known.relays.add(relay);
    if (known.hasBegun) void relay.close();
    return;
  }
  const state = { relays: new Set([relay]), hasBegun: false };
  closing.set(server, state);
  // It may be used again, with another relay.
  server.on('listening', () => {
    state.hasBegun = false;
  });
  const { close } = server;
  server.close = (callback) => {
    state.hasBegun = true;
    const closed = Promise.allSettled([...state.relays].map((one) => one.close()));
    return close.call(server, (error) => {
      void closed.then(() => callback?.(error));
    });
  };
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
