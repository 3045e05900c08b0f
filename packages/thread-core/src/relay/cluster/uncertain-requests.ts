import { setBounded } from './bounded-map.js';
import type { ResumeRequest } from './move-messages.js';

interface UncertainRequest {
  readonly request: ResumeRequest;
  /** By the monotonic clock. */
  readonly askedAt: number;
}

/** The sessions of which requests are remembered, and the requests of each. */
const MAX_SESSIONS = 10_000;
const MAX_REQUESTS = 10;

/**
 * Requests whose session may come to this node although the store's or the owner's answer gets lost. The store may not have checked
 * their secrets yet, so a request neither replaces nor removes one with another secret.
 */
export class UncertainRequests {
  readonly #bySession = new Map<string, Map<string, UncertainRequest>>();

  add(request: ResumeRequest, askedAt: number): void {
    const requests = this.#bySession.get(request.sid) ?? new Map<string, UncertainRequest>();
    setBounded(requests, keyOf(request), { request, askedAt }, MAX_REQUESTS);
    setBounded(this.#bySession, request.sid, requests, MAX_SESSIONS);
  }

  /** The requests for a session. */
  of(sid: string): UncertainRequest[] {
    return [...(this.#bySession.get(sid)?.values() ?? [])];
  }

  find(request: ResumeRequest): UncertainRequest | undefined {
    return this.#bySession.get(request.sid)?.get(keyOf(request));
  }

  /** It is known what has become of the request. */
  remove(request: ResumeRequest): void {
    const requests = this.#bySession.get(request.sid);
    requests?.delete(keyOf(request));
    if (requests?.size === 0) this.#bySession.delete(request.sid);
  }

  /** The session is here. */
  removeAll(sid: string): void {
    this.#bySession.delete(sid);
  }
}

function keyOf({ secretHash, identityKey }: ResumeRequest): string {
  return `${secretHash} ${identityKey}`;
}
