import type { FrameId } from '@arc/thread-protocol';
import { type Bytes, encode } from '../../bytes.js';
import { quote } from '../../values.js';

/** The fields of the client frame that answers repeat. */
export interface FrameEcho {
  id?: FrameId | undefined;
  agent_id?: string;
  context_id?: string;
  trace_id?: string;
}

/** Writes the fields that an answer repeats of its frame, each with a comma before it. */
export function writeEcho({ id, agent_id, context_id, trace_id }: FrameEcho): Bytes {
  let echo = '';
  if (id !== undefined) echo += `,"id":${typeof id === 'string' ? quote(id) : id}`;
  if (agent_id !== undefined) echo += `,"agent_id":${quote(agent_id)}`;
  if (context_id !== undefined) echo += `,"context_id":${quote(context_id)}`;
  if (trace_id !== undefined) echo += `,"trace_id":${quote(trace_id)}`;
  return encode(echo);
}
