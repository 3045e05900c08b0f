import { AgentNotAvailableError } from '../../protocol/errors.js';

/** The store of the cluster cannot be reached, or this node may have lost its sessions: nothing was sent. */
export class ClusterUnavailableError extends AgentNotAvailableError {
  constructor(cause?: unknown) {
    super('Temporarily unavailable: try again later', { cause });
  }
}
