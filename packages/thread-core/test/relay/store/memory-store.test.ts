import { sessionStoreContract } from '@arc/thread-core/testing';
import t from 'tap';
import { type MemoryStore, memoryStore } from '../../../src/relay/store/memory-store.js';

let store: MemoryStore = memoryStore();

sessionStoreContract((title, body) => t.test(title, () => body()), {
  connect: async () => store,
  reset: async () => {
    store = memoryStore();
  },
  lose: async () => store.lose(),
});
