import type { Test } from 'tap';
import { admission } from './admission.js';
import { chats } from './chats.js';
import { beginClocks } from './clocks.js';
import { coexistence } from './coexistence.js';
import { faults } from './faults.js';
import type { Declare, Host } from './host.js';
import { leaks } from './leaks.js';
import { middleware } from './middleware.js';
import { mounting } from './mounting.js';
import { resuming } from './resuming.js';
import { shutdown } from './shutdown.js';

/** Tests that a host keeps the contract, and prints what it cannot promise. */
export function runHostContract(t: Test, host: Host): void {
  const limits = Object.entries(host.unsupported).map(([what, reason]) => `  ${what}: ${reason}`);
  t.comment([`${host.name} ${limits.length > 0 ? 'cannot promise' : 'promises all of it'}`, ...limits].join('\n'));
  // Time has to pass for these, so the others run meanwhile.
  const clocks = beginClocks(host);
  t.test(host.name, async (t) => {
    const declare: Declare = (name, needs, test) => {
      const missing = needs.filter((what) => host.unsupported[what] !== undefined);
      const skip = missing.length > 0 ? missing.map((what) => host.unsupported[what]).join('; ') : false;
      t.test(name, { skip }, test);
    };
    for (const part of [chats, resuming, admission, middleware, mounting, faults, shutdown, coexistence, leaks])
      part(declare, host);
    declare("an active connection is not ended by the server's request time-outs", [], clocks);
  });
}
