import type { ArcClient } from '../../client/arc-client.js';
import { TokenSource } from '../../client/token.js';
import type { Logger } from '../../logger.js';
import { type ChatOutcome, endChat } from '../../threads/ending.js';
import { ThreadManager } from '../../threads/thread-manager.js';
import { type IdentityOptions, loadIdentity } from '../admission/identity.js';
import type { MaybePromise, Session } from '../api.js';
import type { StoredSession } from '../store/session-store.js';

export interface FormerSessionConfig {
  readonly client: ArcClient;
  readonly cleanupTimeout: number;
  readonly logger: Logger;
  readonly sessionToken: ((session: Session) => MaybePromise<string>) | undefined;
  readonly identity: IdentityOptions | undefined;
}

/** A session whose node and connection are gone: what is left are chats that have to be ended. */
class FormerSession implements Session {
  readonly id: string;
  readonly identity: unknown;
  readonly request = undefined;
  readonly threads: ThreadManager;
  readonly pending = 0;
  readonly closed: Promise<ChatOutcome[]> = Promise.resolve([]);

  constructor(id: string, identity: unknown, client: ArcClient) {
    this.id = id;
    this.identity = identity;
    this.threads = new ThreadManager(client);
  }

  close(): void {}
}

/** Ends all chats of a session that was taken over, side by side. Never rejects because of an agent. */
export async function endChatsOf(stored: StoredSession, config: FormerSessionConfig): Promise<ChatOutcome[]> {
  const { client, cleanupTimeout, logger, sessionToken } = config;
  const entries = Object.values(stored.threads);
  // Most have nothing: then the application is not asked for the identity.
  if (entries.length === 0) return [];
  let tokens: TokenSource | undefined;
  if (sessionToken !== undefined) {
    const identity = await loadIdentity(stored.identity, config.identity, cleanupTimeout);
    const session = new FormerSession(stored.sid, identity, client);
    tokens = new TokenSource(async () => sessionToken(session));
  }
  const ending = entries.map((entry) =>
    endChat(
      (request, listener) => client.call(request, listener, { tokens }),
      entry,
      { reason: 'disconnected' },
      cleanupTimeout,
    ),
  );
  const outcomes = await Promise.all(ending);
  for (const outcome of outcomes) if (!outcome.ok) logOrphan(logger, outcome, outcome.error);
  return outcomes;
}

/** Somebody may have to end the chat by hand. */
export function logOrphan(
  logger: Logger,
  { agentId, contextId, chatId }: Pick<ChatOutcome, 'agentId' | 'chatId'> & { contextId?: string | undefined },
  err: unknown,
): void {
  logger.error({ agentId, contextId, chatId, err }, 'orphaned chat of a dead node: it could not be ended');
}
