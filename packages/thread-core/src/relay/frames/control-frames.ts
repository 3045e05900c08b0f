import type { FrameId } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import { writeEcho } from '../sends/reply.js';
import type { ReadFrame } from '../session/inbox.js';
import { BadFrame } from './frame-reader.js';

/** Frames that do not count for `frameRate`. */
export function isControl(frame: ReadFrame): boolean {
  return !(frame instanceof BadFrame) && !isCounted(frame);
}

/** Whether a frame of a resumable session has a number. Its client goes by the type: it cannot tell what is not valid. */
export function isCounted({ type }: ReadFrame): boolean {
  return type !== 'resume' && type !== 'ack' && type !== 'ping';
}

export function pong(id: FrameId | undefined): Bytes {
  return `{"type":"pong"${writeEcho({ id })}}` as Bytes;
}
