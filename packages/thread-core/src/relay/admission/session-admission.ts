import type { IncomingMessage } from 'node:http';
import type { AttachOptions } from '../api.js';
import type { Admission } from './refusal.js';

/** A session whose connection is open, and whose identity is not known yet. */
export interface AdmittedSession {
  readonly request: IncomingMessage | undefined;
  onAdmitted(identity: unknown): void;
  onRefused(code: number, reason: string): void;
  onFailure(error: unknown): void;
}

/** Decides whether a connection is accepted, and calls back. */
export type CheckAdmission = (
  request: IncomingMessage,
  context: unknown,
  host: string | undefined,
  onDecided: (admission: Admission) => void,
) => Promise<void>;

/** Admits a connection, or refuses it. Never rejects. */
export async function admit(
  session: AdmittedSession,
  check: CheckAdmission,
  { context, host }: AttachOptions,
): Promise<void> {
  const { request } = session;
  if (request === undefined) return;
  try {
    await check(request, context, host, (admission) => {
      if ('identity' in admission) session.onAdmitted(admission.identity);
      else session.onRefused(admission.refused.closeCode, admission.refused.message);
    });
  } catch (error) {
    session.onFailure(error);
  }
}
