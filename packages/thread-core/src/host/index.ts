/** What the adapters of the frameworks are built from, and what other hosts use. */
export { requestedHost } from '../relay/admission/origin.js';
export { isUpgrade } from '../relay/admission/upgrade-socket.js';
export {
  type AdapterContext,
  type Attachable,
  acceptUpgrade,
  admitUpgrade,
  type HttpAnswer,
  type VerifyClient,
  verifyClient,
} from './adapter.js';
export { type MountableApp, onAppListen } from './mounted-app.js';
export { isPathOf, readPath } from './paths.js';
export { serveRelay } from './serve-relay.js';
export { closeWith, onListen } from './shutdown.js';
export {
  assertAttached,
  NotAttachedError,
  serveUpgrades,
  takeUpgrade,
  type UpgradeHandler,
  warnOfUnknownPath,
} from './upgrade.js';
