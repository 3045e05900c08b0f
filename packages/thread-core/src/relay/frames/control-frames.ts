import type { FrameId } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import { writeEcho } from './frame-echo.js';
import { BadFrame, type ReadFrame } from './frame-reader.js';

/** Pings and repeated acknowledgements a second. */
export const CONTROL_RATE = 100;

/** Frames that do not count for `frameRate`. */
export function isControl(frame: ReadFrame): boolean {
  return !(frame instanceof BadFrame) && !isCounted(frame);
}

/** Whether a frame of a resumable session has a number. By its type alone: its client does not know what the relay finds invalid. */
export function isCounted({ type }: ReadFrame): boolean {
  return type !== 'resume' && type !== 'ack' && type !== 'ping';
}

export function pong(id: FrameId | undefined): Bytes {
  return `{"type":"pong"${writeEcho({ id })}}` as Bytes;
}
