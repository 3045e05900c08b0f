'use client';

import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
  useEffect,
  useState,
  useSyncExternalStore,
} from 'react';
import type { ArcMessage, ClientState, SendOptions, ThreadClient, ThreadClientOptions, Turn } from '../index.js';
import { ThreadRegistry } from './registry.js';
import type { ThreadOptions, ThreadSnapshot } from './thread-store.js';

export type { ThreadMessage, ThreadOptions, ThreadSnapshot, ThreadStatus } from './thread-store.js';

const Context = createContext<ThreadRegistry | undefined>(undefined);

/** Props of `ThreadProvider`. */
export interface ThreadProviderProps {
  /** A client of your own, which you close; or the options for one that lives as long as the provider. */
  client: ThreadClient | ThreadClientOptions;
  children?: ReactNode;
}

/** Gives a client to the components inside. `client` is read once. Nothing connects while rendering on a server. */
export function ThreadProvider({ client, children }: ThreadProviderProps): ReactElement {
  const [registry] = useState(() => new ThreadRegistry(client));
  useEffect(() => registry.mount(), [registry]);
  return createElement(Context.Provider, { value: registry }, children);
}

/** What `useThread` gives: the conversation as it is now, and what can be done in it. A new object with each change. */
export interface Thread extends ThreadSnapshot {
  /** Sends a message, and shows it and its answer in `messages`. Streams unless `stream` is false. */
  send(message: string | ArcMessage, options?: Omit<SendOptions, 'contextId'>): Turn;
  /** Cancels the answers that are under way. */
  stop(): void;
  /** Ends the conversation, and empties `messages`. Rejects as `client.end` does. */
  end(reason?: string): Promise<void>;
}

/**
 * The conversation with an agent. All components inside one provider that name the same agent and context share it, and
 * it lives as long as the provider.
 */
export function useThread(agentId: string, options: ThreadOptions = {}): Thread {
  const store = useRegistry().store(agentId, options);
  const snapshot = useSyncExternalStore(
    store.subscribe,
    () => store.snapshot,
    () => store.initial,
  );
  return { ...snapshot, send: store.send, stop: store.stop, end: store.end };
}

const CONNECTING: ClientState = { status: 'connecting' };

/** The state of the connection. */
export function useConnection(): ClientState {
  const registry = useRegistry();
  const [subscribe] = useState(() => (listener: () => void) => registry.client().on('state', listener));
  return useSyncExternalStore(
    subscribe,
    () => (registry.existing === undefined ? CONNECTING : registry.existing.state),
    () => CONNECTING,
  );
}

function useRegistry(): ThreadRegistry {
  const registry = useContext(Context);
  if (registry === undefined) throw new Error('useThread must be used inside a ThreadProvider');
  return registry;
}
