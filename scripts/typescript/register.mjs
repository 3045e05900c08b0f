// `--import` of this file is in NODE_OPTIONS of everything that the tests run: see ../tap.mjs.
import * as module from 'node:module';
import * as hooks from './hooks.mjs';

// tap's own way to load TypeScript has to load the whole compiler in each process. This keeps it from doing so.
process.env.TAP_TYPE_STRIP_ONLY = '1';
if (module.registerHooks === undefined) module.register('./hooks.mjs', import.meta.url);
else module.registerHooks(hooks);
