import { invokeHook } from './hooks.js';
import { LogLimiter } from './log-limiter.js';
import { boundLine } from './log-line.js';

/** Where the relay writes its log: the part of pino's interface that it uses. */
export interface Logger {
  /** What is normal or the client's own doing: connections that close, frames and sends that fail. */
  debug(about: object, message: string): void;
  /** Lost connections, chats that may never have begun, agents without chat.end, and the state of the cluster. */
  info(about: object, message: string): void;
  /** Refusals, and agents that are down. At most 10 a minute of each message, with a count of those left out. */
  warn(about: object, message: string): void;
  /** Faults that need attention. Limited as warnings are, but for orphaned chats. */
  error(about: object, message: string): void;
}

const nothing = (): void => {};

/** Writes nothing: the default. */
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

type Level = keyof Logger;

/** What loggers such as pino have beside. */
interface LevelCheck {
  isLevelEnabled(level: Level): unknown;
}

/** The application's logger, with lines below 8 KiB. What it throws is dropped, because there is nowhere to log it. */
class GuardedLogger implements Logger {
  readonly #logger: Partial<Logger>;

  constructor(logger: Partial<Logger>) {
    this.#logger = logger;
  }

  debug(about: object, message: string): void {
    this.#write('debug', about, message);
  }

  info(about: object, message: string): void {
    this.#write('info', about, message);
  }

  warn(about: object, message: string): void {
    this.#write('warn', about, message);
  }

  error(about: object, message: string): void {
    this.#write('error', about, message);
  }

  #write(level: Level, about: object, message: string): void {
    invokeHook(() => {
      const logger: Partial<Logger & LevelCheck> = this.#logger;
      // Most lines are debug lines, which are mostly not written.
      if (logger.isLevelEnabled?.(level) !== false) return logger[level]?.(boundLine(about), message);
    }, nothing);
  }
}

/** Lines that are never suppressed: each names a chat that stays open at its agent. */
const NEVER_SUPPRESSED = /^orphaned chat/;

/**
 * Limits how often each warning and each error is logged: 10 times a minute. The first line after that says how many were
 * suppressed. So neither a client that fails on purpose nor an agent that is down can fill the log.
 */
class LimitedLogger extends GuardedLogger {
  /** By message: these are from a fixed list. */
  readonly #limiter = new LogLimiter();

  override warn(about: object, message: string): void {
    const allowed = this.#allow(about, message);
    if (allowed !== undefined) super.warn(allowed, message);
  }

  override error(about: object, message: string): void {
    const allowed = this.#allow(about, message);
    if (allowed !== undefined) super.error(allowed, message);
  }

  /** What the line is about; undefined if it is suppressed. */
  #allow(about: object, message: string): object | undefined {
    if (NEVER_SUPPRESSED.test(message)) return about;
    const suppressed = this.#limiter.take(message);
    if (suppressed === undefined) return undefined;
    return suppressed === 0 ? about : { ...about, suppressed };
  }
}

/** As `guardLogger`, but warnings and errors are limited: for parts in which clients can cause log lines. */
export function limitLogger(logger: Partial<Logger>): Logger {
  return logger === silentLogger ? silentLogger : new LimitedLogger(logger);
}

/** A logger that never throws, whatever the given one does, and that may lack levels. Guarding twice costs nothing. */
export function guardLogger(logger: Partial<Logger>): Logger {
  return logger === silentLogger || logger instanceof GuardedLogger ? (logger as Logger) : new GuardedLogger(logger);
}
