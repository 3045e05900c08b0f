import { createHash } from 'node:crypto';
import { nodeScripts } from './nodes.js';
import { prelude } from './prelude.js';
import { sessionScripts } from './sessions.js';
import { takeoverScripts } from './takeover.js';

const bodies = { ...nodeScripts, ...sessionScripts, ...takeoverScripts };

export type ScriptName = keyof typeof bodies;

export interface Script {
  source: string;
  /** Its name in the server's cache of scripts. */
  sha1: string;
}

function toScript(body: string): Script {
  const source = prelude + body;
  return { source, sha1: createHash('sha1').update(source).digest('hex') };
}

/** The Lua scripts of the store, each one atomic step. */
export const scripts: Record<ScriptName, Script> = Object.fromEntries(
  Object.entries(bodies).map(([name, body]) => [name, toScript(body)]),
) as Record<ScriptName, Script>;
