// `--import` of this file breaks the build that a process runs on: see breakage.ts.
import { register } from 'node:module';

register('./breakage-hooks.mjs', import.meta.url);
