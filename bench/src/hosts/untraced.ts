import diagnostics from 'node:diagnostics_channel';
import { syncBuiltinESMExports } from 'node:module';
import type { Endpoints } from './options.js';

/** The core in a process in which there are no tracing channels. They are replaced before the core is loaded. */
export async function start(endpoints: Endpoints): Promise<number> {
  diagnostics.tracingChannel = (() => ({ hasSubscribers: false })) as unknown as typeof diagnostics.tracingChannel;
  syncBuiltinESMExports();
  const core = await import('./core.js');
  return core.start(endpoints);
}
