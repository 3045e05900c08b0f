/** What a client must make of an answer. */
export type Expected =
  | {
      readonly chat: string;
      readonly status: string;
      readonly text?: string;
      readonly id: string | number;
      readonly traceId?: string;
    }
  | { readonly code: number; readonly http: number; readonly says: string }
  /** A stream of three pieces, or of `pieces`, and what ends it. */
  | { readonly streamOf: string; readonly pieces?: number; readonly ends: 'done' | number }
  /** No ARC answer. */
  | { readonly noArc: number; readonly because: string };

const chat = (id: string | number, chatId: string, text?: string, traceId?: string): Expected => ({
  chat: chatId,
  status: text === undefined ? 'CLOSED' : 'ACTIVE',
  id,
  ...(text === undefined ? {} : { text }),
  ...(traceId === undefined ? {} : { traceId }),
});
const refused = (code: number, http: number, says: string): Expected => ({ code, http, says });
const streamed = (streamOf: string): Expected => ({ streamOf, ends: 'done' });
const missing = (http: number, says: string): Expected => refused(-32600, http, says);
const tsMissing = (field: string): Expected => missing(200, `Invalid request: Missing required field '${field}'`);

export const EXPECTED: Readonly<Record<string, Expected>> = {
  'py-router-01-start-json': chat('req-1', 'chat-552666c4', 'hi'),
  'py-router-02-start-json-sdk-headers': chat('req-2', 'chat-53ab6031', 'hi', 'trace-1'),
  'py-router-03-start-json-client-chatid': chat('req-3', 'my-chat-1', 'hi'),
  'py-router-04-start-json-client-chatid-duplicate': chat('req-4', 'my-chat-1', 'hi'),
  'py-router-05-start-type-text': chat('req-5', 'chat-88a5ffdd', 'hi'),
  'py-router-06-message-json': chat('req-6', 'chat-552666c4', 'hi'),
  'py-router-07-message-json-traceid': chat('req-7', 'chat-552666c4', 'hi', 'trace-2'),
  'py-router-08-message-wrong-chatid': refused(-43001, 500, 'Chat not found: chat-nope'),
  'py-router-09-end-json-reason': chat('req-9', 'chat-552666c4', undefined, 'trace-3'),
  'py-router-10-end-json-noreason': chat('req-10', 'chat-53ab6031'),
  'py-router-11-message-closed-chat': refused(-43002, 500, 'Chat already closed: chat-552666c4'),
  'py-router-12-end-closed-chat': refused(-43002, 500, 'Chat already closed: chat-552666c4'),
  'py-router-13-end-wrong-chatid': refused(-43001, 500, 'Chat not found: chat-nope'),
  'py-router-14-start-sse': streamed('chat-d9451ff2'),
  'py-router-15-start-sse-sdk-headers': streamed('chat-78c347fd'),
  'py-router-16-message-sse': streamed('chat-d9451ff2'),
  'py-router-17-message-stream-true-accept-json': streamed('chat-d9451ff2'),
  'py-router-18-message-accept-sse-no-stream': chat('req-18', 'chat-d9451ff2', 'hi'),
  'py-router-19-message-sse-wrong-chatid': refused(-43001, 500, 'Chat not found: chat-nope'),
  // A `done` with the status ERROR follows the error: the error was the end.
  'py-router-20-start-sse-error-midstream': { streamOf: 'chat-c755231c', ends: -43005 },
  'py-router-21-end-sse-chat': chat('req-21', 'chat-d9451ff2'),
  'py-router-22-message-sse-closed-chat': refused(-43002, 500, 'Chat already closed: chat-d9451ff2'),
  'py-router-23-unknown-agent': refused(-41001, 404, 'Agent not found: no-such-agent'),
  'py-router-24-unknown-agent-sse': refused(-41001, 404, 'Agent not found: no-such-agent'),
  'py-router-25-unknown-method': refused(-32601, 404, 'Method chat.nope not found for agent test-arc-server'),
  'py-router-26-bad-json': refused(
    -32700,
    400,
    'Parse error: Expecting property name enclosed in double quotes: line 1 column 14 (char 13)',
  ),
  'py-router-27-empty-body': refused(-32700, 400, 'Parse error: Expecting value: line 1 column 1 (char 0)'),
  'py-router-28-body-array': missing(400, 'Request body must be a JSON object'),
  'py-router-29-body-string': missing(400, 'Request body must be a JSON object'),
  'py-router-30-body-invalid-utf8': { noArc: 500, because: 'text/plain; charset=utf-8' },
  'py-router-31-missing-arc': missing(400, 'Missing required field: arc'),
  'py-router-32-missing-id': missing(400, 'Missing required field: id'),
  'py-router-33-missing-method': missing(400, 'Missing required field: method'),
  'py-router-34-missing-requestAgent': missing(400, 'Missing required field: requestAgent'),
  'py-router-35-missing-targetAgent': missing(400, 'Missing required field: targetAgent'),
  'py-router-36-missing-params': missing(400, 'Missing required field: params'),
  'py-router-37-wrong-version': refused(-45001, 500, 'Invalid ARC version: 2.0'),
  'py-router-38-start-missing-initialMessage': refused(-32602, 400, 'Missing required parameter: initialMessage'),
  'py-router-39-message-missing-chatId': refused(-32603, 500, 'Internal server error'),
  'py-router-40-message-missing-message': refused(-43002, 500, 'Chat already closed: chat-53ab6031'),
  'py-router-41-end-missing-chatId': refused(-32603, 500, 'Internal server error'),
  'py-router-42-params-null': refused(-32603, 500, 'Internal server error'),
  'py-router-43-params-string': refused(-32602, 400, 'Missing required parameter: initialMessage'),
  'py-router-44-id-number': chat(42, 'chat-8d79c0c1', 'hi'),
  'py-router-45-unicode': chat('req-40', 'chat-34e3a272', 'hi', 'trå☃'),
  // Its location has the port of the server that was recorded: another origin.
  'py-router-46-trailing-slash': { noArc: 307, because: 'a redirect to another origin, which is not followed' },
  'py-router-47-get': { noArc: 405, because: 'application/json' },
  'ts-01-start-json': chat('req-1', 'chat-ab0b1baa', 'hi'),
  'ts-02-start-json-sdk-headers': chat('req-2', 'chat-a342d9a0', 'hi', 'trace-1'),
  'ts-03-start-json-client-chatid': chat('req-3', 'my-chat-1', 'hi'),
  'ts-04-start-json-client-chatid-duplicate': chat('req-4', 'my-chat-1', 'hi'),
  'ts-05-start-type-text': chat('req-5', 'chat-463cc8d4', 'hi'),
  'ts-06-message-json': chat('req-6', 'chat-ab0b1baa', 'hi'),
  'ts-07-message-json-traceid': chat('req-7', 'chat-ab0b1baa', 'hi', 'trace-2'),
  'ts-08-message-wrong-chatid': refused(-43001, 200, 'Chat not found: chat-nope'),
  'ts-09-end-json-reason': chat('req-9', 'chat-ab0b1baa', undefined, 'trace-3'),
  'ts-10-end-json-noreason': chat('req-10', 'chat-a342d9a0'),
  'ts-11-message-closed-chat': refused(-43002, 200, 'Chat already closed: chat-ab0b1baa'),
  'ts-12-end-closed-chat': refused(-43002, 200, 'Chat already closed: chat-ab0b1baa'),
  'ts-13-end-wrong-chatid': refused(-43001, 200, 'Chat not found: chat-nope'),
  'ts-14-start-sse': streamed('chat-58c1ff88'),
  'ts-15-start-sse-sdk-headers': streamed('chat-2aaa031c'),
  'ts-16-message-sse': streamed('chat-58c1ff88'),
  // Asked for a stream, it answers JSON with an empty message.
  'ts-17-message-stream-true-accept-json': { chat: 'chat-58c1ff88', status: 'ACTIVE', id: 'req-17' },
  'ts-18-message-accept-sse-no-stream': chat('req-18', 'chat-58c1ff88', 'hi'),
  'ts-19-message-sse-wrong-chatid': { streamOf: '', pieces: 0, ends: -43001 },
  'ts-21-end-sse-chat': chat('req-21', 'chat-58c1ff88'),
  'ts-22-message-sse-closed-chat': { streamOf: '', pieces: 0, ends: -43002 },
  'ts-23-unknown-agent': refused(-41001, 200, 'Agent not found: no-such-agent'),
  'ts-24-unknown-agent-sse': streamed('chat-bed599da'),
  'ts-25-unknown-method': refused(-32601, 200, 'Method not found: chat.nope'),
  'ts-27-empty-body': tsMissing('arc'),
  'ts-28-body-array': tsMissing('arc'),
  'ts-30-body-invalid-utf8': tsMissing('id'),
  'ts-31-missing-arc': tsMissing('arc'),
  'ts-32-missing-id': tsMissing('id'),
  'ts-33-missing-method': tsMissing('method'),
  'ts-34-missing-requestAgent': tsMissing('requestAgent'),
  'ts-35-missing-targetAgent': tsMissing('targetAgent'),
  'ts-36-missing-params': tsMissing('params'),
  'ts-37-wrong-version': refused(-45001, 200, 'Invalid ARC version: 2.0'),
  'ts-39-message-missing-chatId': refused(-43001, 200, 'Chat not found: undefined'),
  'ts-40-message-missing-message': refused(-43002, 200, 'Chat already closed: chat-a342d9a0'),
  'ts-41-end-missing-chatId': refused(-43001, 200, 'Chat not found: undefined'),
  'ts-44-id-number': chat(42, 'chat-8e955f8b', 'hi'),
  'ts-45-unicode': chat('req-40', 'chat-ee7f02c9', 'hi', 'trå☃'),
  'ts-46-trailing-slash': { noArc: 404, because: 'text/html; charset=utf-8' },
  'ts-47-get': { noArc: 404, because: 'text/html; charset=utf-8' },
};
