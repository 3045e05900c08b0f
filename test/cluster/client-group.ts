import type { SessionHolder } from './impostor.js';
import type { ReconnectingClient } from './reaper-finder.js';

/** Those whose promises are at stake. */
export interface ClientGroup {
  readonly clients: readonly (ReconnectingClient & SessionHolder)[];
  /** Every client says something in its first thread. Resolves when all are told how that ended. */
  say(what: string): Promise<void>;
  /** As `say`, but waits only for those that have a connection. Resolves to whether they were told in time. */
  sayConnected(what: string): Promise<boolean>;
}
