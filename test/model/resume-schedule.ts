import fc from 'fast-check';

/** One of the two clients of a play. */
interface OfClient {
  client: number;
}

export type ResumeStep =
  | (OfClient & {
      step: 'send';
      agent: number;
      context: number;
      stream: boolean;
      pieces: number;
      /** Characters of each piece. */
      size: number;
      /** The agent stops in the middle until it is released. */
      held: boolean;
      /** The application reads one piece, and no further one before the agents are released. */
      slow: boolean;
    })
  | (OfClient & { step: 'end'; agent: number; context: number })
  | { step: 'cancel'; back: number }
  /** The connection is reset on both sides. */
  | (OfClient & { step: 'cut' })
  /** The client's side is reset. The relay does not notice, and keeps a dead connection. */
  | (OfClient & { step: 'black hole' })
  /** Nothing passes any more, and neither side notices; then the client's page becomes visible. */
  | (OfClient & { step: 'silence' })
  /** The next connections are reset after this many bytes. */
  | (OfClient & { step: 'cut after'; bytes: number; times: number })
  | (OfClient & { step: 'offline' })
  | (OfClient & { step: 'online' })
  /** Another socket resumes the session, as a duplicated tab would, and closes it. */
  | (OfClient & { step: 'steal'; turns: number })
  /** Another socket tries to, with a secret or a cursor that is wrong. */
  | (OfClient & { step: 'guess'; wrong: 'secret' | 'future' | 'negative' | 'fraction' })
  /** The application closes the client, and makes a new one. */
  | (OfClient & { step: 'close' })
  | { step: 'release' }
  | { step: 'pass'; turns: number };

export interface ResumeSchedule {
  busy: 'queue' | 'parallel';
  /** Sessions are kept so long (ms). With the short one they may expire at any time. */
  grace: 60_000 | 30;
  maxBufferedBytes: number;
  steps: ResumeStep[];
}

const client = fc.nat({ max: 1 });
const thread = { client, agent: fc.nat({ max: 1 }), context: fc.nat({ max: 1 }) };

function step<Name extends ResumeStep['step'], Fields extends object>(
  weight: number,
  name: Name,
  fields: { [Key in keyof Fields]: fc.Arbitrary<Fields[Key]> },
): { weight: number; arbitrary: fc.Arbitrary<Fields & { step: Name }> } {
  const arbitrary = fc.record({ step: fc.constant(name), ...fields }) as fc.Arbitrary<Fields & { step: Name }>;
  return { weight, arbitrary };
}

/** `silences`: how often a connection falls silent. It costs seconds each time. */
function steps(silences: number): fc.Arbitrary<ResumeStep> {
  return fc.oneof(
    step(10, 'send', {
      ...thread,
      stream: fc.boolean(),
      pieces: fc.integer({ min: 1, max: 30 }),
      size: fc.constantFrom(0, 0, 0, 200, 60_000),
      held: fc.boolean(),
      slow: fc.boolean(),
    }),
    step(2, 'end', thread),
    step(2, 'cancel', { back: fc.nat({ max: 3 }) }),
    step(5, 'cut', { client }),
    step(3, 'black hole', { client }),
    step(silences, 'silence', { client }),
    step(3, 'cut after', { client, bytes: fc.integer({ min: 150, max: 3000 }), times: fc.integer({ min: 1, max: 5 }) }),
    step(2, 'offline', { client }),
    step(2, 'online', { client }),
    step(1, 'steal', { client, turns: fc.nat({ max: 20 }) }),
    step(1, 'guess', { client, wrong: fc.constantFrom('secret', 'future', 'negative', 'fraction') }),
    step(1, 'close', { client }),
    step(2, 'release', {}),
    step(6, 'pass', { turns: fc.integer({ min: 1, max: 60 }) }),
  );
}

export function resumeSchedules(silences: number): fc.Arbitrary<ResumeSchedule> {
  return fc.record({
    busy: fc.constantFrom('queue', 'queue', 'parallel'),
    grace: fc.constantFrom(60_000, 60_000, 60_000, 30),
    maxBufferedBytes: fc.constantFrom(1_048_576, 2_000),
    steps: fc.array(steps(silences), { minLength: 3, maxLength: 25, size: 'max' }),
  });
}
