import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import type { RelayOptions } from '@arc/thread-core';
import { startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import { TcpProxy } from './proxy.js';
import { TlsFront, trusted } from './tls.js';
import { bounded, Client, type Frame, RelayServer, to, until } from './world.js';

export type Kind = 'JSON' | 'stream';
export const KINDS: readonly Kind[] = ['JSON', 'stream'];

/** One cell of the matrix: how the fault is made, and what has to come of it. */
export interface Cell {
  how: string;
  /** What is done before the send. */
  arrange?(world: World): unknown;
  /** What is done once the send is on its way. */
  strike?(world: World): unknown;
  /** What is done once the send is answered; a second one in the same chat then meets the fault. */
  between?(world: World): unknown;
  /** What else has to hold in the end; gives what does not. */
  check?(world: World): string | undefined;
  /** What the client is to be told. */
  told: string;
  /** The chat.start and chat.message that are to reach the agent before it is well again; those that it sees aborted. */
  requests: number;
  aborted: number;
  /** Time-outs are short, because they are what ends the send. */
  stalls?: true;
  /** The agent is behind TLS. */
  tls?: true;
  /** The client itself is gone: nobody can be told, or send again. */
  lost?: true;
}

/** What came of a cell. */
export interface Outcome {
  told: string;
  requests: number;
  aborted: number;
  /** Chats left open at the agent, and sends that were never ended. */
  open: number;
  unended: number;
  /** What a send to another agent over the same socket, and one to this agent once it is well again, were told. */
  other: string;
  again: string;
  problem?: string;
}

/** An agent behind a proxy, a relay, and a client of it. */
export interface World {
  kind: Kind;
  agent: TestAgent;
  proxy: TcpProxy;
  tls: TlsFront | undefined;
  relay: RelayServer;
  client: Client;
  /** The proxy between the client and the relay. */
  front: TcpProxy;
  /** A server that must not hear of anything. */
  stranger: TestAgent;
  /** Where the faulty agent is said to be, if not behind the proxy. */
  address: string | undefined;
}

type Dispatcher = NonNullable<RelayOptions['dispatcher']>;

/** The undici that the core itself uses. */
const undici = createRequire(import.meta.resolve('@arc/thread-core'))('undici') as {
  Agent: new (options: { connect: { ca: string } }) => Dispatcher & { destroy(): Promise<void> };
};

/**
 * Milliseconds of the time-outs and of the heartbeat, where it is they that end the send; and where they must not, however
 * busy the machine is.
 */
const SHORT = 2000;
const LONG = 60_000;

/** Milliseconds that anything is waited for that must come; and what the agent must see. Only a failure takes so long. */
const PATIENCE = 30_000;
const SEEN = 10_000;

const portOf = (agent: TestAgent): number => (agent.server.address() as AddressInfo).port;

/** Makes a world for one cell, and gives what is to be done in the end. */
async function create(kind: Kind, cell: Cell): Promise<{ world: World; close(): Promise<void> }> {
  const agent = await startTestAgent();
  const stranger = await startTestAgent();
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
    // A chat that may have been started, and was not, is looked for as long as that. Where the network swallows everything,
    // half of it goes by before chat.end is tried again.
    cleanupTimeout: 3 * SHORT,
  });
  const front = await TcpProxy.start(Number(new URL(relay.url).port));
  const client = await Client.connect(cell.lost === undefined ? relay.url : `ws://127.0.0.1:${front.port}`);
  const world: World = { kind, agent, stranger, proxy, tls, relay, client, front, address: undefined };
  const close = async (): Promise<void> => {
    client.socket.terminate();
    await relay.close();
    await dispatcher?.destroy();
    await Promise.all([front.close(), proxy.close(), tls?.close(), agent.close(), stranger.close()]);
  };
  return { world, close };
}

export async function run(kind: Kind, cell: Cell): Promise<Outcome> {
  const { world, close } = await create(kind, cell);
  try {
    return await play(world, cell);
  } finally {
    await close();
  }
}

async function play(world: World, cell: Cell): Promise<Outcome> {
  const { kind, agent, client } = world;
  const stream = kind === 'stream';
  await cell.arrange?.(world);
  client.send(to('faulty', 'first', { stream }));
  if (cell.lost) {
    await cell.strike?.(world);
    const told = tell(client.soFar('first'));
    return leave(world, cell, { ...count(agent), told, other: '–', again: '–' });
  }
  // Its answer need not have come when the fault strikes: it must come although it does.
  const other = client.ask(to('other', 'other'), PATIENCE);
  await cell.strike?.(world);
  let told = tell(await client.told('first', PATIENCE));
  if (cell.between !== undefined) {
    await cell.between(world);
    told += ` · then ${tell(await client.ask(to('faulty', 'second', { stream }), PATIENCE))}`;
  }
  // What the agent sees of it comes a little later than what the client is told; if it never comes, the count tells.
  const seen = (): boolean => count(agent).aborted >= cell.aborted && count(agent).requests >= cell.requests;
  await agent.waitFor(seen, { timeout: SEEN }).catch(() => {});
  const counted = count(agent);
  await heal(world);
  const again = client.ask(to('faulty', 'again', { stream }), PATIENCE);
  return leave(world, cell, { ...counted, told, other: last(await other), again: last(await again) });
}

/** What has reached the agent so far, but for ends. */
function count({ requests }: TestAgent): { requests: number; aborted: number } {
  const sends = requests.filter(({ method, agentId }) => method !== 'chat.end' && agentId === 'faulty');
  return { requests: sends.length, aborted: sends.filter(({ aborted }) => aborted).length };
}

async function heal(world: World): Promise<void> {
  world.proxy.heal();
  world.tls?.trust(true);
  world.address = undefined;
  if (!world.proxy.listening) await world.proxy.listen();
}

/** The client goes without a word, and everything has to be tidied up behind it. */
async function leave(
  world: World,
  cell: Cell,
  seen: Pick<Outcome, 'told' | 'requests' | 'aborted' | 'other' | 'again'>,
): Promise<Outcome> {
  const { agent, client, relay } = world;
  const { strays } = client;
  const unanswered = client.open.length;
  if (!cell.lost) client.socket.terminate();
  const { sessions } = relay.relay;
  await until(
    () => sessions.size === 0,
    () => `the end of ${sessions.size} sessions`,
    PATIENCE,
  );
  // Nothing may be open; but where something is, the matrix shall say so.
  await agent.waitFor('idle', { timeout: SEEN }).catch(() => {});
  const { open, running } = agent.counters;
  const unended = cell.lost ? relay.relay.stats().pending : unanswered;
  const outcome: Outcome = { ...seen, ...(cell.lost ? count(agent) : {}), open, unended };
  const problem =
    cell.check?.(world) ??
    (strays.length > 0 ? `frames after the last one: ${tell(strays)}` : undefined) ??
    (running > 0 ? `${running} requests still run at the agent` : undefined);
  return problem === undefined ? outcome : { ...outcome, problem };
}

function last(frames: Frame[]): string {
  return frames.slice(-1).map(name).join('');
}

function name(frame: Frame): string {
  if (frame.type !== 'error') return frame.type;
  return `error ${String((frame.data as { code: number }).code).replace('-', '−')}`;
}

/** The frames in a few words: `content ×2, error −43104`. */
function tell(frames: Frame[]): string {
  const runs: { name: string; times: number }[] = [];
  for (const frame of frames) {
    const run = runs.at(-1);
    if (run?.name === name(frame)) run.times += 1;
    else runs.push({ name: name(frame), times: 1 });
  }
  return runs.map(({ name, times }) => (times === 1 ? name : `${name} ×${times}`)).join(', ') || 'nothing';
}

/** Resolves when the faulty agent's client has been told so many frames of the first send. */
export async function heard({ client }: World, frames = 1): Promise<void> {
  await until(() => client.soFar('first').length >= frames, 'the first frames');
}

/** Resolves when the faulty agent has got the first send. */
export async function asked({ agent }: World): Promise<void> {
  await bounded(
    agent.waitFor(() => count(agent).requests > 0),
    'the first send at the agent',
  );
}

/** A row of the matrix. A string in place of a cell says why there can be none. */
export interface Fault {
  name: string;
  about?: string;
  before(kind: Kind): Cell | string;
  middle(kind: Kind): Cell | string;
  after(kind: Kind): Cell | string;
}

export const WHENS = { before: 'before the first byte', middle: 'in the middle', after: 'after the last' } as const;
