import { once } from 'node:events';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '@arc/thread-core/testing';
import type { Test } from 'tap';
import { type ClientOptions, WebSocket } from 'ws';
import type { Block } from './documents.js';
import { Program } from './program.js';

/** Tests a block. `code` is its JavaScript. */
export type Scenario = (t: Test, block: Block, code: string) => Promise<void>;

/** What the documents name in their examples; a test puts its own in their place. */
export const ENDPOINT = 'http://127.0.0.1:8000/arc';
export const PORT = '3000';

/** Replaces what the code contains once. */
export function put(t: Test, code: string, documented: string, actual: string): string {
  const parts = code.split(documented);
  t.equal(parts.length, 2, `${documented} is in the code once`);
  return parts.join(actual);
}

export async function startAgent(t: Test, options?: TestAgentOptions): Promise<TestAgent> {
  const agent = await startTestAgent(options);
  t.teardown(() => agent.close());
  return agent;
}

export interface Served {
  program: Program;
  port: number;
}

/** Runs the code of a server in front of an agent, on a free port. */
export async function serve(
  t: Test,
  code: string,
  agent: TestAgent,
  env: Record<string, string> = {},
): Promise<Served> {
  t.ok(code.includes(ENDPOINT), `${ENDPOINT} is in the code`);
  const program = new Program(t, put(t, code.replaceAll(ENDPOINT, agent.endpoint), PORT, '0'), env);
  return { program, port: await program.port };
}

export async function connect(t: Test, port: number, options: ClientOptions = {}, path = '/ws'): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, options);
  t.teardown(() => socket.terminate());
  await once(socket, 'open');
  return socket;
}

/** The HTTP status with which an upgrade is refused. */
export async function refusal(port: number, options: ClientOptions = {}, path = '/ws'): Promise<number> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, options).on('error', () => {});
  const [, answer] = await once(socket, 'unexpected-response');
  socket.terminate();
  return answer.statusCode;
}

export async function ask(socket: WebSocket, frame: object): Promise<Record<string, unknown>> {
  socket.send(JSON.stringify(frame));
  const [data] = await once(socket, 'message');
  return JSON.parse(String(data));
}

export const answering = (content: string) => ({
  result: { chat: { message: { parts: [{ content }] } } },
  error: null,
});

export const methodsOf = (agent: TestAgent): string[] => agent.requests.map(({ method }) => method);

/** The parts of a page that an example uses, for Node. */
export const pageAt = (port: number): string => `
  globalThis.window = new EventTarget();
  globalThis.location = { href: 'http://127.0.0.1:${port}/' };
  const body = { append: (text) => process.stdout.write(text) };
  globalThis.document = Object.assign(new EventTarget(), { body, visibilityState: 'visible' });
`;
