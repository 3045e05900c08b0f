import { ErrorCode, type RelayFrame } from '@arc/thread-protocol';
import { checkIntrusions } from './check-intrusions.js';
import { checkOutages } from './check-outages.js';
import { type ClientRecord, type Excuse, type History, type SendRecord, sendsOf } from './history.js';

/** Excuses for each way in which a send may fail. */
const ALLOWED: Record<string, readonly Excuse[]> = {
  InterruptedError: ['end', 'expiry', 'stolen', 'crash', 'lapse'],
  SessionLostError: ['expiry', 'stolen', 'data'],
  ClosedError: ['stolen', 'closed'],
  // The relay answers so if it may not own the session any more, with one code only.
  AgentError: ['crash', 'store'],
};

/** What the relay answers if it may not send a message. Then it has not sent it. */
const UNAVAILABLE: number = ErrorCode.AgentNotAvailable;

const LAST: readonly RelayFrame['type'][] = ['response', 'done', 'error', 'cancelled'];

/** What is wrong with a history. Empty if every promise was kept. */
export function check(history: History): string[] {
  const reached = countReached(history);
  return [
    ...history.clients.flatMap((client) => [
      ...sendsOf(client).flatMap((send) => checkSend(send, reached.get(send.label) ?? 0)),
      ...checkWire(client),
      ...checkThreads(client, history),
      ...checkLate(client, history),
    ]),
    ...checkStrangers(history),
    ...checkOutages(history),
    ...checkIntrusions(history),
    ...Object.entries(history.left).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what} left`])),
    ...history.failures,
  ];
}

function countReached({ reached }: History): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { label } of reached) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

/** Every send ends once, for a reason; its pieces come once and in order; its message reaches the agent at most once. */
function checkSend(send: SendRecord, reached: number): string[] {
  const { label, outcomes, heard, expected, excuses, cancelled } = send;
  const problems: string[] = [];
  const [outcome] = outcomes;
  if (outcome === undefined || outcomes.length > 1) problems.push(`has ended ${outcomes.length} times`);
  if (reached > 1) problems.push(`reached the agent ${reached} times`);
  const wrong = heard.findIndex((text, index) => text !== expected[index]);
  if (wrong !== -1) problems.push(`heard ${heard[wrong]} in the place of piece ${wrong}`);
  if (outcome?.type === 'done') {
    if (reached === 0) problems.push('was answered, but never reached the agent');
    if (heard.length < expected.length) problems.push(`heard ${heard.length} of ${expected.length} pieces`);
  } else if (outcome !== undefined) {
    const isRefused = outcome.error === 'AgentError' && outcome.code === UNAVAILABLE;
    if (isRefused && reached > 0) problems.push('was refused, but reached the agent');
    const hasExcuse = ALLOWED[outcome.error]?.some((excuse) => excuses.has(excuse)) === true;
    const isExcused = hasExcuse && (outcome.error !== 'AgentError' || isRefused);
    const isCancelled = cancelled && outcome.error === 'CancelledError';
    if (!isExcused && !isCancelled) problems.push(`failed: ${outcome.error} ${outcome.code} ${outcome.reason}`);
  }
  return problems.map((problem) => `${label}: ${problem}`);
}

/** Frames are numbered without a gap on every socket, a number always means the same frame, and none is of another session. */
function checkWire({ name, prefix, wire }: ClientRecord): string[] {
  const problems: string[] = [];
  const sessions = new Map<string, Map<number, string>>();
  const sockets = new Map<number, { seq: number; frames: Map<number, string> }>();
  const lasts = new Map<string, number>();
  for (const { socket, cursor, frame, text } of wire) {
    if (frame.type === 'ready') {
      if (sockets.has(socket)) problems.push(`a second ready on socket ${socket}`);
      const frames = sessions.get(frame.session) ?? new Map<number, string>();
      sessions.set(frame.session, frames);
      sockets.set(socket, { seq: frame.resumed === true ? cursor : 0, frames });
    } else if (frame.type !== 'ack' && frame.type !== 'pong') {
      const state = sockets.get(socket);
      const seq = 'seq' in frame ? frame.seq : undefined;
      if (state === undefined || seq === undefined) {
        problems.push(`a frame before ready, or without a number: ${text}`);
        continue;
      }
      if (seq !== state.seq + 1) problems.push(`frame ${seq} after frame ${state.seq} on socket ${socket}`);
      state.seq = seq;
      const known = state.frames.get(seq);
      if (known !== undefined && known !== text) problems.push(`frame ${seq} is ${text}, and was ${known}`);
      if (known === undefined) {
        state.frames.set(seq, text);
        if ('id' in frame && LAST.includes(frame.type)) lasts.set(`${frame.id}`, (lasts.get(`${frame.id}`) ?? 0) + 1);
      }
      const id = 'id' in frame ? frame.id : undefined;
      if (prefix === undefined || !`${id}`.startsWith(prefix)) problems.push(`a stranger's frame: ${text}`);
    }
  }
  for (const [id, count] of lasts) if (count > 1) problems.push(`${id} has ${count} last frames`);
  return problems.map((problem) => `${name}: ${problem}`);
}

/** A conversation stays in its chat, unless it was ended or lost, or the client gets `restarted`. */
function checkThreads({ name, log }: ClientRecord, { reached }: History): string[] {
  const chats = new Map(reached.map(({ label, chatId }) => [label, chatId]));
  const current = new Map<string, string>();
  const problems: string[] = [];
  for (const entry of log) {
    if (entry.type === 'lost') current.clear();
    else if (entry.type === 'end') current.delete(entry.thread);
    else {
      const { thread, label, outcomes } = entry;
      const [outcome] = outcomes;
      const chatId = chats.get(label);
      const before = current.get(thread);
      if (outcome?.type !== 'done' || chatId === undefined) current.delete(thread);
      else {
        if (before !== undefined && before !== chatId && !outcome.restarted)
          problems.push(`${name}: ${label} of ${thread} was asked in another chat`);
        current.set(thread, chatId);
      }
    }
  }
  return problems;
}

/**
 * What a client was told to have failed does not reach its agent later: not after a message of the same thread that was
 * sent when the client knew. What was cancelled may: its request is cut off, and may be read late. Without its data the store
 * cannot tell a node that another has taken its sessions.
 */
function checkLate(client: ClientRecord, { reached }: History): string[] {
  const order = new Map(reached.map(({ label }, index) => [label, index]));
  const failures = new Map<string, { label: string; at: number; error: string }[]>();
  const problems: string[] = [];
  for (const { label, thread, sentAt, outcomes, cancelled, excuses } of sendsOf(client)) {
    const known = failures.get(thread) ?? [];
    const place = order.get(label) ?? Number.POSITIVE_INFINITY;
    for (const failed of known) {
      const isLate = failed.at < sentAt && (order.get(failed.label) ?? -1) > place;
      if (isLate) problems.push(`${failed.label} (${failed.error}) reached the agent late, after ${label}`);
    }
    const [outcome] = outcomes;
    if (outcome?.type === 'failed' && !cancelled && !excuses.has('end') && !excuses.has('data'))
      failures.set(thread, [...known, { label, at: outcome.at, error: outcome.error }]);
  }
  return problems;
}

/** No agent gets a message that no client has sent. */
function checkStrangers({ clients, reached }: History): string[] {
  const labels = new Set(clients.flatMap((client) => sendsOf(client).map(({ label }) => label)));
  return reached.filter(({ label }) => !labels.has(label)).map(({ label }) => `no client sent ${label}`);
}
