import { dialects, type LostChat } from '@arc/thread-core/testing';
import fc from 'fast-check';

/** What goes wrong with the answer of one send. */
export type Trouble =
  /** `foreign`: events carry the id of another chat; `busy`: the agent fails after it has created its chat. */
  | { kind: 'none' | 'held' | 'page' | 'empty' | 'no done' | 'foreign' | 'busy' }
  | { kind: 'reset' | 'cut' | 'truncated'; after: number }
  | { kind: 'error'; code: number; as: 'envelope' | 'event' }
  | { kind: 'late'; delay: number }
  | { kind: 'in pieces'; chunkBytes: number };

export type Step =
  | { step: 'send'; socket: number; agent: number; context: number; stream: boolean; trouble: Trouble }
  /** Of the send that many before the last one. */
  | { step: 'cancel'; back: number }
  /** A send whose answer is held is cancelled once it has had the time to reach the agent. */
  | { step: 'give up'; socket: number; agent: number; context: number; stream: boolean }
  | { step: 'end'; socket: number; agent: number; context: number }
  /** The client leaves, and connects again. */
  | { step: 'drop'; socket: number; how: 'terminate' | 'close' | 'reset' }
  /** Releases the oldest answer that is held. */
  | { step: 'release' }
  /** The agent loses all its chats. */
  | { step: 'forget'; agent: number }
  /** The next chat.end is not answered as it should be. */
  | { step: 'spoil end'; how: 'reset' | 'cut' | 'page' | 'error' }
  /** So many turns of the event loop pass. */
  | { step: 'pass'; turns: number };

/** How the agents are, and what happens to them. */
export interface Schedule {
  busy: 'queue' | 'parallel' | 'reject' | 'interrupt';
  createChat: 'at-once' | 'when-ready';
  chatIds: 'client' | 'server';
  ignoreAbort: boolean;
  /** Which server the agents run on; one that has its own answer for a lost chat does not use `lostChat`. */
  dialect: keyof typeof dialects | 'plain';
  lostChat: LostChat;
  steps: Step[];
}

const troubles: fc.Arbitrary<Trouble> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('none' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('held' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('page' as const, 'empty' as const, 'no done' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('foreign' as const, 'busy' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('reset' as const, 'cut' as const, 'truncated' as const),
      after: fc.nat({ max: 400 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('error' as const),
      code: fc.constantFrom(-32_603, -32_602, -41_002, -43_005, -44_006, -44_007, -50_123),
      as: fc.constantFrom('envelope' as const, 'event' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('late' as const), delay: fc.integer({ min: 1, max: 20 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('in pieces' as const), chunkBytes: fc.integer({ min: 7, max: 60 }) }),
  },
);

const thread = {
  socket: fc.nat({ max: 1 }),
  agent: fc.nat({ max: 2 }),
  context: fc.nat({ max: 1 }),
};

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ step: fc.constant('send' as const), ...thread, stream: fc.boolean(), trouble: troubles }),
  },
  { weight: 2, arbitrary: fc.record({ step: fc.constant('cancel' as const), back: fc.nat({ max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ step: fc.constant('give up' as const), ...thread, stream: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ step: fc.constant('end' as const), ...thread }) },
  {
    weight: 1,
    arbitrary: fc.record({
      step: fc.constant('drop' as const),
      socket: thread.socket,
      how: fc.constantFrom('terminate' as const, 'close' as const, 'reset' as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ step: fc.constant('release' as const) }) },
  { weight: 1, arbitrary: fc.record({ step: fc.constant('forget' as const), agent: thread.agent }) },
  {
    weight: 1,
    arbitrary: fc.record({
      step: fc.constant('spoil end' as const),
      how: fc.constantFrom('reset' as const, 'cut' as const, 'page' as const, 'error' as const),
    }),
  },
  { weight: 5, arbitrary: fc.record({ step: fc.constant('pass' as const), turns: fc.integer({ min: 1, max: 40 }) }) },
);

export const schedules: fc.Arbitrary<Schedule> = fc.record({
  busy: fc.constantFrom('queue', 'queue', 'parallel', 'reject', 'interrupt'),
  createChat: fc.constantFrom('at-once', 'when-ready'),
  chatIds: fc.constantFrom('client', 'client', 'server'),
  ignoreAbort: fc.boolean(),
  dialect: fc.constantFrom('plain', 'plain', 'plain', ...(Object.keys(dialects) as (keyof typeof dialects)[])),
  lostChat: fc.record({
    code: fc.constantFrom(-43_001, -43_002, -43_003, -42_005),
    status: fc.constantFrom(200, 404, 500),
    as: fc.constantFrom('envelope', 'event'),
  }),
  steps: fc.array(steps, { minLength: 3, maxLength: 25, size: 'max' }),
});
