import type { IncomingMessage } from 'node:http';
import { CloseCode } from '@arc/thread-protocol';

/** Why the relay refuses a connection. */
export type RefusalReason =
  /** The relay is being closed. */
  | 'shutdown'
  /** `maxSessions` connections are open or are being authenticated. */
  | 'capacity'
  /** The Host header is not in `allowedHosts`. */
  | 'host'
  /** The page's origin is not allowed. */
  | 'origin'
  /** `authenticate` gave no identity, or threw. */
  | 'authentication'
  /** `authenticate` did not settle within `authenticateTimeout`. */
  | 'timeout';

/** Why a connection is refused: an HTTP status before the upgrade, or a close code after it. */
export interface Refusal {
  /** `disconnected`: the client left while it was being authenticated. This is neither counted nor logged. */
  reason: RefusalReason | 'disconnected';
  status: number;
  closeCode: number;
  message: string;
}

/** The identity of a connection, or why it is refused. */
export type Admission = { identity: unknown } | { refused: Refusal };

/** What `hooks.onRefuse` is given: the HTTP status of a refused upgrade, or the close code after an accepted one. */
export type RefusalReport = { request: IncomingMessage; reason: RefusalReason } & (
  | { status: number; closeCode?: undefined }
  | { status?: undefined; closeCode: number }
);

const CLOSE_CODES: Record<number, number> = {
  401: CloseCode.Unauthorized,
  403: CloseCode.Forbidden,
  503: CloseCode.TryAgainLater,
};

export function makeRefusal(reason: Refusal['reason'], status: number, message: string): Refusal {
  return {
    reason,
    status,
    closeCode: CLOSE_CODES[status] ?? (status < 500 ? CloseCode.Unauthorized : CloseCode.InternalError),
    message,
  };
}

const REFUSAL_LINES: Readonly<Record<RefusalReason, string>> = {
  shutdown: 'refused a connection: the server is shutting down',
  capacity: 'refused a connection: maxSessions is reached',
  host: 'refused a connection: its Host is not in allowedHosts',
  origin:
    "refused a connection: its Origin is neither that of the server's own host nor in allowedOrigins; behind a proxy " +
    'that changes the Host header, or leaves out its port, have it set X-Forwarded-Host and trust it (the trustProxy option, or that of the framework)',
  authentication: 'refused a connection: it is not authenticated',
  timeout: 'refused a connection: authenticate did not settle within authenticateTimeout',
};

/** What the log says of a refusal, and which option decides. */
export function lineOf(reason: RefusalReason, hasThrown: boolean): string {
  if (!hasThrown) return REFUSAL_LINES[reason];
  return `refused a connection: ${reason === 'origin' ? 'allowedOrigins' : 'authenticate'} threw an error`;
}
