import type { FrameId, NotResumedReason } from '@arc/thread-protocol';
import { type Bytes, encode } from '../../bytes.js';
import { quote } from '../../values.js';
import type { ResumeConfig } from '../api.js';
import { ACK_POLICY } from './frame-count.js';

/**
 * The `ready` of a new session. `reason`: why it replaces the one that the client asked for. `received`: how many frames
 * of the client had arrived in that one, if it is known.
 */
export function writeReady(
  config: ResumeConfig,
  token: string,
  reason: NotResumedReason | undefined,
  received: number | undefined,
): Bytes {
  const refused = reason === undefined ? '' : `,"resumed":false,"reason":"${reason}"`;
  const arrived = received === undefined ? '' : `,"received":${received}`;
  return `{"type":"ready","session":${quote(token)}${refused}${arrived},"seq":0,"got":0${writePolicy(config)}}` as Bytes;
}

/** How far a session had come when it was resumed. */
export interface ResumedProgress {
  readonly seq: number;
  readonly got: number;
  readonly pending: FrameId[];
}

/** The `ready` of a session that was resumed. */
export function writeResumed(config: ResumeConfig, token: string, { seq, got, pending }: ResumedProgress): Bytes {
  const ids = encode(JSON.stringify(pending));
  const cursors = `"seq":${seq},"got":${got},"pending":${ids}`;
  return `{"type":"ready","session":${quote(token)},"resumed":true,${cursors}${writePolicy(config)}}` as Bytes;
}

function writePolicy({ grace }: ResumeConfig): string {
  const { frames, bytes, ms } = ACK_POLICY;
  return `,"grace_ms":${grace},"ack":{"frames":${frames},"bytes":${bytes},"ms":${ms}}`;
}
