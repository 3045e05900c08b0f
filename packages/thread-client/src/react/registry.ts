import { createThreadClient, type ThreadClient, type ThreadClientOptions } from '../index.js';
import { type ThreadOptions, ThreadStore } from './thread-store.js';

/** The client of one provider, created on first use, and a ThreadStore for each conversation. */
export class ThreadRegistry {
  readonly #source: ThreadClient | ThreadClientOptions;
  readonly #stores = new Map<string, ThreadStore>();
  #ownClient: ThreadClient | undefined;
  #users = 0;
  #wasMounted = false;

  constructor(source: ThreadClient | ThreadClientOptions) {
    this.#source = source;
  }

  readonly client = (): ThreadClient => {
    if ('send' in this.#source) return this.#source;
    if (this.#ownClient === undefined) {
      this.#ownClient = createThreadClient(this.#source);
      // Something that has outlived the provider may send: it must not leave a connection that nobody closes. What is sent before
      // the provider has mounted, in a layout effect, is sent by the client that it will close.
      if (this.#wasMounted) this.#closeUnlessUsed();
    }
    return this.#ownClient;
  };

  /** The client, if there is one already. */
  get existing(): ThreadClient | undefined {
    return 'send' in this.#source ? this.#source : this.#ownClient;
  }

  store(agentId: string, options: ThreadOptions): ThreadStore {
    const key = JSON.stringify([agentId, options.contextId]);
    const store = this.#stores.get(key) ?? new ThreadStore(this.client, agentId, options);
    this.#stores.set(key, store);
    return store;
  }

  /** Called when a provider mounts. Returns its cleanup function, which closes the client if it was created here. */
  mount(): () => void {
    this.#users += 1;
    this.#wasMounted = true;
    this.client();
    return () => {
      this.#users -= 1;
      this.#closeUnlessUsed();
    };
  }

  /** Later: effects of components run before those of their provider, and StrictMode unmounts and mounts again at once. */
  #closeUnlessUsed(): void {
    setTimeout(() => {
      if (this.#users > 0) return;
      void this.#ownClient?.close();
      this.#ownClient = undefined;
    });
  }
}
