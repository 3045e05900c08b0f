// The table of errors: its codes, its classes, and what an error tells.
import t from 'tap';
import * as errors from '../../src/protocol/errors.js';
import { ArcError, arcError, readAgentError, TransportError } from '../../src/protocol/errors.js';
import { failure, pair, refusal, START } from './support.js';

const TABLE: ReadonlyArray<readonly [code: number, name: string]> = [
  [-32700, 'ParseError'],
  [-32600, 'InvalidRequestError'],
  [-32601, 'MethodNotFoundError'],
  [-32602, 'InvalidParamsError'],
  [-32603, 'InternalError'],
  [-41001, 'AgentNotFoundError'],
  [-41002, 'AgentNotAvailableError'],
  [-41003, 'AgentUnreachableError'],
  [-41004, 'InvalidAgentIdError'],
  [-41005, 'AgentAuthenticationError'],
  [-41006, 'AgentTimeoutError'],
  [-42001, 'TaskNotFoundError'],
  [-42002, 'TaskAlreadyCompletedError'],
  [-42003, 'TaskAlreadyCancelledError'],
  [-42004, 'TaskExecutionError'],
  [-42005, 'TaskTimeoutError'],
  [-42006, 'InvalidStatusTransitionError'],
  [-43001, 'ChatNotFoundError'],
  [-43002, 'ChatAlreadyClosedError'],
  [-43003, 'ChatTimeoutError'],
  [-43004, 'ParticipantLimitError'],
  [-43005, 'InvalidChatMessageError'],
  [-43006, 'ChatBufferOverflowError'],
  [-43101, 'StreamNotFoundError'],
  [-43102, 'StreamAlreadyClosedError'],
  [-43103, 'InvalidStreamMessageError'],
  [-43104, 'StreamTimeoutError'],
  [-44001, 'AuthenticationError'],
  [-44002, 'AuthorizationError'],
  [-44003, 'InsufficientScopeError'],
  [-44004, 'TokenExpiredError'],
  [-44005, 'TokenInvalidError'],
  [-44006, 'PermissionDeniedError'],
  [-44007, 'RateLimitExceededError'],
  [-45001, 'UnsupportedVersionError'],
  [-45002, 'MissingRequiredFieldError'],
  [-45003, 'InvalidFieldFormatError'],
  [-45004, 'MessageTooLargeError'],
  [-45005, 'InvalidTraceError'],
];

t.test('every code of the table arrives as the class that is named after it', async (t) => {
  let answer = refusal({});
  const { client } = await pair(t, (socket) => socket.write(answer));
  for (const [code, name] of TABLE) {
    answer = refusal({ code, message: `about ${code}`, details: { code } }, 500);
    const error = await failure(client.chat.start(START));
    const Class = (errors as Record<string, unknown>)[name] as typeof ArcError & { code: number };
    t.equal(error.constructor, Class, `${code} is ${name}`);
    t.ok(error instanceof ArcError && error instanceof Error);
    t.match(error, { code, name, message: `about ${code}`, details: { code }, fromAgent: true });
    t.equal(Class.code, code);
  }
});

t.test('the type of a class says its code', async (t) => {
  const error: Error = new errors.ChatNotFoundError('gone');
  if (!(error instanceof errors.ChatNotFoundError)) return t.fail('not that class');
  const code: -43_001 = error.code;
  t.equal(code, -43_001);
});

t.test('codes of the application, and those that no table has, are plain ArcErrors', async (t) => {
  let answer = refusal({});
  const { client } = await pair(t, (socket) => socket.write(answer));
  for (const code of [-50001, -50042, -50999, -1, 0, 1, 404, -43999, -99999]) {
    answer = refusal({ code, message: 'mine' });
    const error = await failure(client.chat.start(START));
    t.equal(error.constructor, ArcError, String(code));
    t.match(error, { code, name: 'ArcError', reason: 'mine', fromAgent: true });
  }
});

t.test('an error of an agent has the method and the agent of its request', async (t) => {
  const { client, peer } = await pair(t, refusal({ code: -43001, message: 'gone', details: { a: 1 } }, 404));
  const error = await failure(client.chat.start({ ...START, traceId: 'tr-1' }));
  t.match(error, {
    code: -43001,
    reason: 'gone',
    details: { a: 1 },
    status: 404,
    agentId: 'support',
    method: 'chat.start',
    traceId: 'tr-1',
    fromAgent: true,
  });
  t.equal(error.cause, undefined);
  t.notOk(peer.url === '' || error.message.includes(peer.url), 'an agent’s own words stand without its address');
  t.equal(error.message, 'gone');
});

t.test('an error is written as it stands in an envelope', async (t) => {
  t.same(JSON.parse(JSON.stringify(arcError(-43001, 'gone', { details: { a: 1 }, traceId: 't' }))), {
    code: -43001,
    message: 'gone',
    details: { a: 1 },
  });
  t.same(JSON.parse(JSON.stringify(arcError(-43001, 'gone'))), { code: -43001, message: 'gone' });
});

t.test('an error that is written for others does not give the agent’s address away', async (t) => {
  const error = arcError(-41003, 'no answer', { address: 'http://10.0.0.7/arc' });
  t.same(JSON.parse(JSON.stringify({ type: 'error', data: error })).data, { code: -41003, message: 'no answer' });
});

t.test('an error’s message has the address that its reason leaves out', async (t) => {
  const cause = new Error('why');
  const error = arcError(-41003, 'no answer', { address: 'http://agent/arc', cause });
  t.match(error, { message: 'no answer (http://agent/arc)', reason: 'no answer', address: 'http://agent/arc' });
  t.equal(error.cause, cause);
  t.ok(error instanceof TransportError);
  t.notOk('cause' in arcError(-41003, 'no answer'));
});

t.test('an error event is read in its three forms', async (t) => {
  t.match(readAgentError({ chatId: 'c', error: { code: -43001, message: 'gone', data: 1 } }, {}), {
    code: -43001,
    reason: 'gone',
    details: 1,
  });
  t.match(readAgentError({ code: -43001, message: 'gone' }, {}), { code: -43001, reason: 'gone' });
  t.match(readAgentError('gone', {}), { code: -32603, reason: 'gone' });
  t.match(readAgentError({ chatId: 'c', error: 'gone' }, {}), { code: -32603, reason: 'gone' });
  t.match(readAgentError(null, {}), { code: -32603, reason: 'The agent gave no reason' });
});
