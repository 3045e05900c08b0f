// Until the relay's files import these from where they stand.
export type { CancelFrame, ClientFrame, EndFrame, MessageFrame, PingFrame, RelayFrame } from '@arc/thread-protocol';
export { BadFrame, echoOf, type FrameEcho, isMessage, readEcho, readFrame } from './frame-reader.js';
export { framesSchema } from './frame-schema.js';
