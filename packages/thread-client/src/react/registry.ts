import { createThreadClient, type ThreadClient, type ThreadClientOptions } from '../index.js';
import { ThreadStore } from './thread-store.js';

/** The client of one provider, made when it is first needed, and the conversations that components look at. */
export class ThreadRegistry {
  readonly #source: ThreadClient | ThreadClientOptions;
  readonly #stores = new Map<string, ThreadStore>();
  #created: ThreadClient | undefined;
  #users = 0;

  constructor(source: ThreadClient | ThreadClientOptions) {
    this.#source = source;
  }

  readonly client = (): ThreadClient => {
    if ('send' in this.#source) return this.#source;
    this.#created ??= createThreadClient(this.#source);
    return this.#created;
  };

  /** The client, if there is one already. */
  get current(): ThreadClient | undefined {
    return 'send' in this.#source ? this.#source : this.#created;
  }

  store(agentId: string, contextId: string | undefined): ThreadStore {
    const key = JSON.stringify([agentId, contextId]);
    const store = this.#stores.get(key) ?? new ThreadStore(this.client, agentId, contextId);
    this.#stores.set(key, store);
    return store;
  }

  /** A provider is mounted. Returns the function for its unmounting, which closes a client that was made here. */
  mount(): () => void {
    this.#users += 1;
    this.client();
    return () => {
      this.#users -= 1;
      // StrictMode unmounts and mounts again at once.
      setTimeout(() => {
        if (this.#users > 0) return;
        void this.#created?.close();
        this.#created = undefined;
      });
    };
  }
}
