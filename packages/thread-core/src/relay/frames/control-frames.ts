import type { FrameId } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import { writeEcho } from '../sends/reply.js';
import type { ReadFrame } from '../session/inbox.js';
import { BadFrame } from './frame-reader.js';

/** Frames that do not count for `frameRate`, and that a client of a resumable session does not count. */
export function isControl(frame: ReadFrame): boolean {
  return !(frame instanceof BadFrame) && (frame.type === 'resume' || frame.type === 'ack' || frame.type === 'ping');
}

export function pong(id: FrameId | undefined): Bytes {
  return `{"type":"pong"${writeEcho({ id })}}` as Bytes;
}
