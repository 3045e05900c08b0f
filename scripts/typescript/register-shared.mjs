// For a process that runs many test files, one after the other: each file that imports tap gets a test of its own instead of tap's root.
import * as module from 'node:module';
import * as hooks from './shared-hooks.mjs';

if (module.registerHooks === undefined) module.register('./shared-hooks.mjs', import.meta.url);
else module.registerHooks(hooks);
