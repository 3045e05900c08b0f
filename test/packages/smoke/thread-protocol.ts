import { type ClientFrame, CloseCode, ErrorCode, text, textOf } from '@arc/thread-protocol';

const frame: ClientFrame = { agent_id: 'support', message: text('Hello') };
const codes: number[] = [...Object.values(CloseCode), ...Object.values(ErrorCode)];

if (textOf(frame.message) !== 'Hello') throw new Error('textOf does not give the text of a message');
if (!codes.every(Number.isInteger)) throw new Error('A code is not an integer');
