import { claiming } from './claiming.js';
import { handingOver } from './handing-over.js';
import { inbox } from './inbox.js';
import { journal } from './journal.js';
import { losingData } from './losing-data.js';
import { nodes } from './nodes.js';
import { reaping } from './reaping.js';
import { registering } from './registering.js';
import { type StoreContractTest, type StoreHarness, World } from './world.js';

export type { StoreContractTest, StoreHarness } from './world.js';

/**
 * What every `SessionStore` must do, as tests for any runner: each calls `test` with a title and an async body that
 * rejects if the store is wrong. Run them one after the other.
 *
 *     sessionStoreContract((title, body) => test(title, body), { connect, reset, lose });
 */
export function sessionStoreContract(test: StoreContractTest, harness: StoreHarness): void {
  for (const part of [registering, nodes, claiming, handingOver, journal, reaping, losingData, inbox]) {
    part((title, body) => {
      test(title, async () => {
        const world = await World.begin(harness);
        try {
          await body(world);
        } finally {
          await world.end();
        }
      });
    });
  }
}
