// What tap gets for async-hook-domain: see hooks.mjs. It finds the test to which an error belongs that nobody has caught, as that does.
// But that has Node report the end of each promise, socket and timer, which makes all that is asynchronous take much longer.
import { createHook, executionAsyncResource } from 'node:async_hooks';

const DOMAIN = Symbol('the test that made a resource');

/** Servers that tests have made, by their ids. The connections that they accept are not made by code that runs. */
const servers = new Map();

/** What is made while a test runs is of this test: promises, sockets, timers. */
const hook = createHook({
  init(id, type, trigger, resource) {
    const domain = servers.get(trigger) ?? executionAsyncResource()[DOMAIN];
    if (domain === undefined) return;
    resource[DOMAIN] = domain;
    if (type.endsWith('SERVERWRAP')) servers.set(id, domain);
  },
});

/** The innermost test whose code runs now, of those that have not ended. */
function current() {
  let domain = executionAsyncResource()[DOMAIN];
  while (domain?.hasEnded) domain = domain.parent;
  return domain;
}

/** Gives an error to its test. False if there is none, or if the program handles such errors itself. */
function give(error, origin) {
  if (process.hasUncaughtExceptionCaptureCallback() || process.listenerCount('uncaughtException') > 0) return false;
  const domain = current();
  domain?.onerror(error, origin);
  return domain !== undefined;
}

function onException(error, origin) {
  if (!give(error, origin)) return;
  // It does not end the process.
  process.setUncaughtExceptionCaptureCallback(() => process.setUncaughtExceptionCaptureCallback(null));
}

let isWatching = false;

function watch() {
  isWatching = true;
  hook.enable();
  process.on('uncaughtExceptionMonitor', onException);
  const { emit } = process;
  process.emit = function emitOrGive(event, ...args) {
    const isRejection = event === 'unhandledRejection' && process.listenerCount(event) === 0;
    return isRejection ? give(args[0], event) : emit.call(this, event, ...args);
  };
}

export class Domain {
  parent = current();
  hasEnded = false;

  constructor(onerror) {
    this.onerror = onerror;
    if (!isWatching) watch();
    executionAsyncResource()[DOMAIN] = this;
  }

  destroy() {
    this.hasEnded = true;
  }
}
