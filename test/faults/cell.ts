import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import type { RelayOptions } from '@arc/thread-core';
import { startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import { TcpProxy } from './proxy.js';
import { TlsFront, trusted } from './tls.js';
import { type Frame, RecordingClient, RelayServer, to, until, withDeadline } from './world.js';

export type Kind = 'JSON' | 'stream';
export const KINDS: readonly Kind[] = ['JSON', 'stream'];

/** One cell of the matrix: how the fault is caused, and its expected outcome. */
export interface Cell {
  how: string;
  /** Runs before the send. */
  arrange?(world: World): unknown;
  /** Runs after the message was sent. */
  cause?(world: World): unknown;
  /** Runs when the send is answered. A second send in the same chat then meets the fault. */
  between?(world: World): unknown;
  /** An additional check at the end. Returns the problem, if there is one. */
  check?(world: World): string | undefined;
  /** The frames that the client must receive, in short. */
  told: string;
  /** Number of chat.start and chat.message requests that must reach the agent during the fault, and of aborted ones. */
  requests: number;
  aborted: number;
  /** Timeouts are short, because a timeout ends the send. */
  stalls?: true;
  /** The agent is behind TLS. */
  tls?: true;
  /** The client is gone: it cannot receive frames or send again. */
  lost?: true;
}

/** The outcome of a cell. */
export interface Outcome {
  told: string;
  requests: number;
  aborted: number;
  /** Number of chats left open at the agent, and of sends without a terminal frame. */
  open: number;
  unended: number;
  /** The terminal frame of a send to another agent over the same socket, and of a send to this agent after the fault. */
  other: string;
  again: string;
  problem?: string;
}

/** An agent behind a proxy, a relay, and its client. */
export interface World {
  kind: Kind;
  agent: TestAgent;
  proxy: TcpProxy;
  tls: TlsFront | undefined;
  relay: RelayServer;
  client: RecordingClient;
  /** The proxy between the client and the relay. */
  front: TcpProxy;
  /** A server on another origin, which must not receive anything. */
  otherOrigin: TestAgent;
  /** The address of the faulty agent, if it is not behind the proxy. */
  address: string | undefined;
}

type Dispatcher = NonNullable<RelayOptions['dispatcher']>;

/** The undici that the core itself uses. */
const undici = createRequire(import.meta.resolve('@arc/thread-core'))('undici') as {
  Agent: new (options: { connect: { ca: string } }) => Dispatcher & { destroy(): Promise<void> };
};

/**
 * Timeouts and heartbeat in ms: short if they end the send, long if they must not end it even on a busy machine.
 */
const SHORT = 2000;
const LONG = 60_000;

/** Limits of waits in ms, for what the client and what the agent must receive. Only failures take that long. */
const CLIENT_WAIT = 30_000;
const AGENT_WAIT = 10_000;

const portOf = (agent: TestAgent): number => (agent.server.address() as AddressInfo).port;

/** Creates the world of one cell, and the function that closes it. */
async function create(kind: Kind, cell: Cell): Promise<{ world: World; close(): Promise<void> }> {
  const agent = await startTestAgent();
  const otherOrigin = await startTestAgent();
  const tls = cell.tls === undefined ? undefined : await TlsFront.start(portOf(agent));
  const proxy = await TcpProxy.start(tls?.port ?? portOf(agent));
  const dispatcher = cell.tls === undefined ? undefined : new undici.Agent({ connect: { ca: trusted } });
  const behind = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${proxy.port}/arc`;
  const timeout = cell.stalls === undefined ? LONG : SHORT;
  const relay = await RelayServer.start({
    endpoint: (agentId) => (agentId === 'faulty' ? (world.address ?? behind) : agent.endpoint),
    dispatcher,
    sendTimeout: timeout,
    streamIdleTimeout: timeout,
    heartbeat: cell.lost === undefined ? 0 : SHORT / 2,
    // chat.end is repeated for this time if it is unknown whether a chat was started. If the network drops all packets, half
    // of it passes before the first repetition.
    cleanupTimeout: 3 * SHORT,
  });
  const front = await TcpProxy.start(Number(new URL(relay.url).port));
  const client = await RecordingClient.open(cell.lost === undefined ? relay.url : `ws://127.0.0.1:${front.port}`);
  const world: World = { kind, agent, otherOrigin, proxy, tls, relay, client, front, address: undefined };
  const close = async (): Promise<void> => {
    client.socket.terminate();
    await relay.close();
    await dispatcher?.destroy();
    await Promise.all([front.close(), proxy.close(), tls?.close(), agent.close(), otherOrigin.close()]);
  };
  return { world, close };
}

export async function run(kind: Kind, cell: Cell): Promise<Outcome> {
  const { world, close } = await create(kind, cell);
  try {
    return await runSends(world, cell);
  } finally {
    await close();
  }
}

async function runSends(world: World, cell: Cell): Promise<Outcome> {
  const { kind, agent, client } = world;
  const stream = kind === 'stream';
  await cell.arrange?.(world);
  client.send(to('faulty', 'first', { stream }));
  if (cell.lost) {
    await cell.cause?.(world);
    const told = summarize(client.soFar('first'));
    return leave(world, cell, { ...count(agent), told, other: '–', again: '–' });
  }
  // Its answer must arrive in spite of the fault, but not necessarily before it.
  const other = client.exchange(to('other', 'other'), CLIENT_WAIT);
  await cell.cause?.(world);
  let told = summarize(await client.answerTo('first', CLIENT_WAIT));
  if (cell.between !== undefined) {
    await cell.between(world);
    told += ` · then ${summarize(await client.exchange(to('faulty', 'second', { stream }), CLIENT_WAIT))}`;
  }
  // The agent notices it slightly later than the client. If it never does, the counts in the outcome show it.
  const seen = (): boolean => count(agent).aborted >= cell.aborted && count(agent).requests >= cell.requests;
  await agent.waitFor(seen, { timeout: AGENT_WAIT }).catch(() => {});
  const counted = count(agent);
  await repair(world);
  const again = client.exchange(to('faulty', 'again', { stream }), CLIENT_WAIT);
  return leave(world, cell, { ...counted, told, other: last(await other), again: last(await again) });
}

/** The requests that have reached the agent so far, without chat.end. */
function count({ requests }: TestAgent): { requests: number; aborted: number } {
  const sends = requests.filter(({ method, agentId }) => method !== 'chat.end' && agentId === 'faulty');
  return { requests: sends.length, aborted: sends.filter(({ aborted }) => aborted).length };
}

async function repair(world: World): Promise<void> {
  world.proxy.heal();
  world.tls?.trust(true);
  world.address = undefined;
  if (!world.proxy.listening) await world.proxy.listen();
}

/** Drops the client's connection, after which everything must be cleaned up. */
async function leave(
  world: World,
  cell: Cell,
  seen: Pick<Outcome, 'told' | 'requests' | 'aborted' | 'other' | 'again'>,
): Promise<Outcome> {
  const { agent, client, relay } = world;
  const { unexpected } = client;
  const unanswered = client.unanswered.length;
  if (!cell.lost) client.socket.terminate();
  const { sessions } = relay.relay;
  await until(
    () => sessions.size === 0,
    () => `the end of ${sessions.size} sessions`,
    CLIENT_WAIT,
  );
  // Nothing may be open. If something is, the matrix shows it.
  await agent.waitFor('idle', { timeout: AGENT_WAIT }).catch(() => {});
  const { open, running } = agent.counters;
  const unended = cell.lost ? relay.relay.stats().pending : unanswered;
  const outcome: Outcome = { ...seen, ...(cell.lost ? count(agent) : {}), open, unended };
  const problem =
    cell.check?.(world) ??
    (unexpected.length > 0 ? `frames after the terminal frame: ${summarize(unexpected)}` : undefined) ??
    (running > 0 ? `${running} requests are still running at the agent` : undefined);
  return problem === undefined ? outcome : { ...outcome, problem };
}

function last(frames: Frame[]): string {
  return frames.slice(-1).map(name).join('');
}

function name(frame: Frame): string {
  if (frame.type !== 'error') return frame.type;
  return `error ${String((frame.data as { code: number }).code).replace('-', '−')}`;
}

/** The frames in short: `content ×2, error −43104`. */
function summarize(frames: Frame[]): string {
  const runs: { name: string; times: number }[] = [];
  for (const frame of frames) {
    const run = runs.at(-1);
    if (run?.name === name(frame)) run.times += 1;
    else runs.push({ name: name(frame), times: 1 });
  }
  return runs.map(({ name, times }) => (times === 1 ? name : `${name} ×${times}`)).join(', ') || 'nothing';
}

/** Resolves when the client has received this many frames of the first send. */
export async function receivedFrames({ client }: World, frames = 1): Promise<void> {
  await until(() => client.soFar('first').length >= frames, 'the first frames');
}

/** Resolves when the faulty agent has received the first send. */
export async function requestArrived({ agent }: World): Promise<void> {
  await withDeadline(
    agent.waitFor(() => count(agent).requests > 0),
    'the first send at the agent',
  );
}

/** A row of the matrix. A string in place of a cell says why the case is impossible. */
export interface Fault {
  name: string;
  about?: string;
  before(kind: Kind): Cell | string;
  middle(kind: Kind): Cell | string;
  after(kind: Kind): Cell | string;
}

export const WHENS = {
  before: 'before the first byte',
  middle: 'in the middle',
  after: 'after the last byte',
} as const;
