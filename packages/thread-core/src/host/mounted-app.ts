import type { Server } from 'node:http';
import { onListen } from './shutdown.js';

/** An app that can be mounted in another one, as those of Express. */
export interface MountableApp {
  /** The app that it is mounted in, if it is. */
  readonly parent?: this;
  /** Makes a server for the app, which listens. */
  listen(...args: never[]): Server;
  /** `mount` is emitted when it is mounted. */
  on(event: 'mount', listener: (parent: this) => void): unknown;
}

type OnServer<App> = (server: Server, app: App) => void;

/** What waits for the server of each app. Node warns of a leak if an app has many listeners, one for each relay. */
const waiting = new WeakMap<object, OnServer<never>[]>();

/** Calls back with the server that an app, or an app that it is mounted in, makes when it listens, and with that app. */
export function onAppListen<App extends MountableApp>(app: App, callback: OnServer<App>): true {
  const known = waiting.get(app) as OnServer<App>[] | undefined;
  const all = known ?? [];
  all.push(callback);
  if (known === undefined) {
    waiting.set(app, all);
    onListen(app, (server) => {
      for (const each of all) each(server, app);
    });
    app.on('mount', (parent) => {
      for (const each of all) onAppListen(parent, each);
    });
  }
  // It may have been mounted before.
  return app.parent === undefined ? true : onAppListen(app.parent, callback);
}
