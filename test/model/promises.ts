import { type Frame, isLast } from '../faults/world.js';
import type { Play, Sent } from './world.js';

/** What is wrong with a play that has come to its end, if anything. */
export function broken(play: Play): string[] {
  const sends = play.sent.flatMap((sent) => ended(play, sent));
  return [...sends, ...unexpected(play), ...order(play), ...strangers(play), ...chats(play)];
}

/** Every send ends in exactly one way, and in one that fits what happened to it. */
function ended(play: Play, sent: Sent): string[] {
  const frames = sent.client.soFar(sent.id);
  const lasts = frames.filter(isLast);
  const last = lasts[0];
  if (last === undefined) return sent.dropped ? [] : [`${sent.id} has no last frame`];
  if (lasts.length > 1) return [`${sent.id} has ${lasts.length} last frames`];
  const problem = sent.dropped ? undefined : unfit(play, sent, frames, last);
  return problem === undefined ? [] : [`${sent.id} (${sent.trouble.kind}): ${problem}`];
}

function unfit(play: Play, sent: Sent, frames: Frame[], last: Frame): string | undefined {
  const { schedule, forgetful, lostChat } = play;
  const { trouble, stopped, agentId, id } = sent;
  const isForgotten = forgetful.has(agentId);
  // A chat whose id never arrived cannot be continued, either.
  const isLost = isForgotten || play.unnamed > 0;
  if (last.restarted === true && !isLost) return 'it was restarted, though the agent has not lost its chat';
  if (last.type === 'cancelled') return stopped ? undefined : 'it was cancelled without a request';
  if (last.type === 'error') {
    const { code } = last.data as { code: number };
    if (code === -50_001 && schedule.busy === 'reject') return undefined;
    if (code === lostChat.code && isForgotten) return undefined;
    if (code === -32_603 && isLost && isHalfAnError(play, sent)) return undefined;
    return codesOf(sent).includes(code) ? undefined : `it failed with ${code}`;
  }
  if (
    ['none', 'held', 'late', 'in pieces', 'foreign'].includes(trouble.kind) &&
    !JSON.stringify(frames).includes(`${id}"`)
  ) {
    return `its answer is another one's: ${JSON.stringify(frames)}`;
  }
  return undefined;
}

/** The event that says that the chat is lost stops halfway, in a stream that ends properly: its code cannot be read. */
function isHalfAnError({ lostChat }: Play, { trouble, stream }: Sent): boolean {
  return trouble.kind === 'truncated' && stream && lostChat.as === 'event';
}

function codesOf({ trouble }: Sent): number[] {
  if (trouble.kind === 'error') return [trouble.code];
  if (trouble.kind === 'busy') return [-41_002];
  if (['none', 'held', 'late', 'in pieces', 'foreign'].includes(trouble.kind)) return [];
  return [-41_003, -43_104];
}

/** Nothing follows the last frame. */
function unexpected({ clients, gone }: Play): string[] {
  return [...clients, ...gone].flatMap(({ unexpected }) =>
    unexpected.map((frame) => `an unexpected frame: ${JSON.stringify(frame)}`),
  );
}

/** The sends of one thread are sent and answered one after the other, in order of arrival. */
function order(play: Play): string[] {
  if (play.schedule.busy === 'parallel') return [];
  const problems: string[] = [];
  const threads = new Map<string, Sent[]>();
  for (const sent of play.sent) {
    const thread = [[...play.gone, ...play.clients].indexOf(sent.client), sent.agentId, sent.contextId].join();
    threads.set(thread, [...(threads.get(thread) ?? []), sent]);
  }
  for (const [thread, sends] of threads) {
    const index = new Map(sends.map(({ id }, at) => [id, at]));
    const { frames } = (sends[0] as Sent).client;
    // What was refused or cancelled while it waited need not wait for those before it.
    const isIts = (frame: Frame): boolean => index.has(String(frame.id)) && !leavesTheQueue(frame);
    rising(frames.filter(isIts).map(({ id }) => index.get(String(id)) as number)) ||
      problems.push(`the answers of ${thread} are out of order`);
    // A request that is given up may still be on its way when the next one arrives, over another connection.
    const kept = new Set(sends.filter(({ stopped }) => !stopped).map(({ id }) => id));
    const asked = play.agent.requests.flatMap(({ traceId = '' }) =>
      kept.has(traceId) ? (index.get(traceId) ?? []) : [],
    );
    rising(asked) || problems.push(`the sends of ${thread} came to the agent out of order: ${asked}`);
  }
  return problems;
}

function leavesTheQueue(frame: Frame): boolean {
  return frame.type === 'cancelled' || (frame.type === 'error' && (frame.data as { code: number }).code === -50_001);
}

function rising(numbers: number[]): boolean {
  return numbers.every((number, at) => at === 0 || number >= (numbers[at - 1] as number));
}

/** A message goes to a chat that its own thread has started, if the relay makes the ids. */
function strangers({ agent, schedule, sent, clients, gone }: Play): string[] {
  if (schedule.chatIds !== 'client') return [];
  const all = [...gone, ...clients];
  const threads = new Map(sent.map((s) => [s.id, [all.indexOf(s.client), s.agentId, s.contextId].join()]));
  const own = new Set<string>();
  for (const { method, traceId = '', chatId } of agent.requests) {
    if (method === 'chat.start') own.add(`${threads.get(traceId)} ${chatId}`);
  }
  return agent.requests
    .filter(
      ({ method, traceId = '', chatId }) => method === 'chat.message' && !own.has(`${threads.get(traceId)} ${chatId}`),
    )
    .map(({ traceId, chatId }) => `${traceId} went to a chat of another thread: ${chatId}`);
}

/** Every chat that was started is ended, except for those that the agents have lost. Nothing is left at the relay. */
function chats({ agent, server, forgotten, unnamed, late, keepsChats }: Play): string[] {
  const { started, ended, open, running } = agent.counters;
  const { sessions, threads, pending, orphans } = server.relay.stats();
  const problems: string[] = [];
  if (!keepsChats && open > unnamed + late) problems.push(`${open} chats are open at the agent`);
  if (started !== ended + open + forgotten) {
    problems.push(`${started} chats were started, ${ended} ended, ${open} are open, ${forgotten} were lost`);
  }
  if (orphans !== 0) problems.push(`${orphans} chats are reported as orphans, though the agents answered`);
  if (running !== 0) problems.push(`${running} requests still run at the agent`);
  if (sessions + threads + pending !== 0)
    problems.push(`the relay has ${sessions} sessions, ${threads} threads, ${pending} sends`);
  return problems;
}
