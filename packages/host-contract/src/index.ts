export {
  Client,
  type Frame,
  gate,
  type Headers,
  heldAuthentication,
  plain,
  portOf,
  RawClient,
  textOf,
  to,
  until,
  upgrade,
  upgradeText,
  withDeadline,
} from './client.js';
export { connectSocketIo, socketIo } from './coexistence.js';
export { runHostContract } from './contract.js';
export { type CoreHost, type CoreServer, runCoreContract } from './core.js';
export { type App, closeServer, type Host, listen, listening, type Site } from './host.js';
export { refusesPaths } from './mounting.js';
export { type Exit, ServerProcess } from './server-process.js';
export { selfSigned } from './tls.js';
