import type { Test } from 'tap';
import { chats } from './chats.js';
import { beginClocks } from './clocks.js';
import { doors } from './doors.js';
import { faults } from './faults.js';
import type { Host, Promised } from './host.js';
import { leaks } from './leaks.js';
import { middleware } from './middleware.js';
import { neighbours } from './neighbours.js';
import { places } from './places.js';
import { wayOut } from './way-out.js';

/** Declares a test of the contract. A host that cannot keep it has said why, and is not asked. */
export type Declare = (name: string, promised: Promised[], test: (t: Test) => Promise<void>) => void;

/** Holds a host to what all of them promise, and prints what it cannot do. */
export function runAdapterContract(t: Test, host: Host): void {
  const limits = Object.entries(host.cannot).map(([what, reason]) => `  ${what}: ${reason}`);
  t.comment([`${host.name} ${limits.length > 0 ? 'cannot promise' : 'promises all of it'}`, ...limits].join('\n'));
  // Time has to pass for these, so the others run meanwhile.
  const clocks = beginClocks(host);
  t.test(host.name, async (t) => {
    const declare: Declare = (name, promised, test) => {
      const missing = promised.filter((what) => host.cannot[what] !== undefined);
      const skip = missing.length > 0 ? missing.map((what) => host.cannot[what]).join('; ') : false;
      t.test(name, { skip }, test);
    };
    for (const part of [chats, doors, middleware, places, faults, wayOut, neighbours, leaks]) part(declare, host);
    declare('connections that talk outlive the time-outs for requests', [], clocks);
  });
}
