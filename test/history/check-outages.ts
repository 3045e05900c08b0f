import { type ClientRecord, type History, type OutageRecord, type SendRecord, sendsOf } from './history.js';

/** What is promised of a store that is away: what goes on, and until when, and what nobody may do then. */
export function checkOutages(history: History): string[] {
  const { clients, outages } = history;
  return outages.flatMap((outage) => [
    ...clients.flatMap((client) => [
      ...checkOpenThreads(client, outage),
      ...checkSilence(client, outage),
      ...checkResumed(client, outage),
    ]),
    ...checkReached(history, outage),
  ]);
}

/** Messages on open threads continue for a while: on those whose last message was answered, and which were not ended since. */
function checkOpenThreads({ log }: ClientRecord, { goneAt, openUntil }: OutageRecord): string[] {
  const open = new Set<string>();
  const problems: string[] = [];
  for (const entry of log) {
    if (entry.type === 'lost') open.clear();
    else if (entry.type === 'end') open.delete(entry.thread);
    else {
      const [outcome] = entry.outcomes;
      const isRefused = outcome?.type === 'failed' && outcome.error === 'AgentError';
      // A node that was frozen, or whose name was taken, refuses for its own reason.
      const isEarly = isRefused && outcome.at > goneAt && outcome.at < openUntil && !entry.excuses.has('crash');
      if (isEarly && open.has(entry.thread)) problems.push(`${entry.label} was refused on an open thread, too early`);
      if (outcome?.type === 'done') open.add(entry.thread);
      else if (!isRefused) open.delete(entry.thread);
    }
  }
  return problems;
}

/** Once every node is silent no message is answered. */
function checkSilence(client: ClientRecord, { silentAt, backAt }: OutageRecord): string[] {
  const isWrong = ({ sentAt, outcomes: [outcome] }: SendRecord): boolean =>
    sentAt >= silentAt && outcome?.type === 'done' && outcome.at < backAt;
  return sendsOf(client)
    .filter(isWrong)
    .map(({ label }) => `${label} was answered by a node whose lease was over`);
}

/** Another node may have a session whose node has not renewed its lease: nobody continues it. */
function checkResumed({ name, wire }: ClientRecord, { lapsedAt, backAt }: OutageRecord): string[] {
  const isWrong = ({ frame, askedAt, at }: ClientRecord['wire'][number]): boolean =>
    frame.type === 'ready' && frame.resumed === true && askedAt >= lapsedAt && at < backAt;
  return wire.some(isWrong)
    ? [`${name} has resumed its session, although the store was away for longer than a lease`]
    : [];
}

/** No chat is started that the store cannot know, and none is continued that other nodes may be ending. */
function checkReached({ clients, reached }: History, { goneAt, silentAt, backAt }: OutageRecord): string[] {
  const sends = new Map(clients.flatMap(sendsOf).map((send) => [send.label, send]));
  const chats = new Set<string>();
  const problems: string[] = [];
  for (const { label, chatId, at = Number.POSITIVE_INFINITY } of reached) {
    const isNew = !chats.has(chatId);
    chats.add(chatId);
    const { sentAt = 0 } = sends.get(label) ?? {};
    if (at >= backAt) continue;
    if (sentAt >= silentAt) problems.push(`${label} reached the agent from a node whose lease was over`);
    else if (sentAt >= goneAt && isNew) problems.push(`${label} has started a chat while the store was away`);
  }
  return problems;
}
