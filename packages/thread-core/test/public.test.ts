import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as core from '@arc/thread-core';
import {
  type AgentSource,
  ArcClient,
  ArcError,
  ArcStream,
  ChatNotFoundError,
  type ClientFrame,
  createRelay,
  type Logger,
  type RelayFrame,
  type RelayOptions,
  type Session,
  ThreadManager,
  type ThreadStore,
} from '@arc/thread-core';
import { type AgentHandler, createAgentServer, echo, faults, startTestAgent, textOf } from '@arc/thread-core/testing';
import t from 'tap';

const run = promisify(execFile);

/** What a program prints that is run in this package, with nothing of the test's own around it. */
async function node(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return run(process.execPath, args, { cwd: new URL('..', import.meta.url), env });
}

t.test('the package has its public names', async (t) => {
  for (const name of ['ArcClient', 'ArcStream', 'ThreadManager', 'createRelay', 'framesSchema'] as const) {
    t.ok(name in core, name);
  }
  t.type(ArcClient, 'function');
  t.type(ThreadManager, 'function');
  t.type(ArcStream, 'function');
  for (const name of [createAgentServer, startTestAgent, echo, textOf]) t.type(name, 'function');
  t.type(faults.hang, 'function');
});

t.test('the errors of the ARC table are classes with their code', async (t) => {
  const codes: Record<string, number> = {
    ParseError: -32_700,
    InvalidRequestError: -32_600,
    MethodNotFoundError: -32_601,
    InvalidParamsError: -32_602,
    InternalError: -32_603,
    AgentNotFoundError: -41_001,
    AgentUnreachableError: -41_003,
    AgentTimeoutError: -41_006,
    ChatNotFoundError: -43_001,
    ChatAlreadyClosedError: -43_002,
    StreamInterruptedError: -43_104,
    AuthenticationError: -44_001,
    AuthorizationError: -44_002,
    TokenExpiredError: -44_004,
    RateLimitExceededError: -44_007,
    MessageTooLargeError: -45_004,
    AgentBusyError: -50_001,
  };
  type ErrorClass = new (reason: string) => ArcError;
  for (const [name, code] of Object.entries(codes)) {
    const Class = (core as unknown as Record<string, ErrorClass>)[name];
    if (Class === undefined) return t.fail(name);
    const error = new Class('why');
    t.match(error, { name, code, message: 'why' });
    t.ok(error instanceof ArcError && error instanceof Error);
  }
});

t.test('the whole way, by the names of the package alone', async (t) => {
  const shout: AgentHandler = ({ message }) => textOf(message).toUpperCase();
  const agent = createAgentServer({ agents: { shout } });
  await agent.listen();
  const client = new ArcClient({ endpoint: agent.endpoint });
  const store: ThreadStore = new Map();
  const threads = new ThreadManager(client, { store });
  const message = { role: 'user', parts: [{ type: 'text', content: 'hello' }] };
  const { result } = await threads.sendToAgent({ agentId: 'shout', message });
  t.equal(result.chat.message?.parts[0]?.content, 'HELLO');
  t.ok(threads.hasThread('shout'));
  t.match(await threads.endAllChats(), [{ agentId: 'shout', ok: true }]);
  await t.rejects(client.chat.message({ targetAgent: 'shout', chatId: 'none', message }), ChatNotFoundError);
  await client.close();
  await agent.close();
});

t.test('the types of frames and options can be written with', async (t) => {
  const logger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
  const options: RelayOptions & AgentSource = {
    endpoint: 'http://127.0.0.1:1',
    logger,
    sessionToken: (session: Session) => session.id,
  };
  const relay = createRelay(options);
  const frame: ClientFrame = { agent_id: 'a', message: { role: 'user', parts: [] }, stream: true };
  const answers: RelayFrame[] = [
    { type: 'response', response: { arc: '1.0', id: '1', responseAgent: 'a', targetAgent: 'b', result: {} } },
    { type: 'error', data: { code: -1, message: 'x' } },
  ];
  t.strictSame(
    answers.map(({ type }) => type),
    ['response', 'error'],
  );
  t.equal(frame.stream, true);
  t.match(relay.stats(), { sessions: 0, threads: 0, pending: 0 });
  await relay.close();
});

t.test('CommonJS can require the package, without a warning', async (t) => {
  for (const name of ['@arc/thread-core', '@arc/thread-core/testing']) {
    const { stdout, stderr } = await node('-p', `Object.keys(require('${name}')).length > 0`);
    t.strictSame([stdout.trim(), stderr], ['true', ''], name);
  }
  const { stdout } = await node('-p', `require('@arc/thread-core/frames.schema.json').title`);
  t.equal(stdout.trim(), 'ARC thread frames');
});

t.test('to import the package starts nothing', async (t) => {
  const { stdout, stderr } = await node(
    '--input-type=module',
    '--eval',
    `import '@arc/thread-core'; import '@arc/thread-core/testing';
     console.log(process.getActiveResourcesInfo().filter((name) => /Timeout|TCP/.test(name)).join());`,
  );
  t.strictSame([stdout.trim(), stderr], ['', '']);
});
