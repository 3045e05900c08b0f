import type { Dispatcher } from 'undici';

/** undici's control of an answer: pause, resume, abort. */
export type Controller = Pick<Dispatcher.DispatchController, 'abort' | 'pause' | 'resume'>;

/** The headers of an answer, by their names in lower case. */
export type AnswerHeaders = Record<string, string | string[] | undefined>;

/** Receives the answer to a request: undici's handler interface, with all methods required. */
export interface RequestHandler {
  /** The answer is not needed any more. A request that still waits for a connection is not sent. */
  readonly isSettled: boolean;
  /** Runs whatever sends the request, if it is given. */
  readonly run?: ((send: () => void) => void) | undefined;
  /** There is a connection, and the first byte is written next. If this throws, the connection is returned unused. */
  onRequestStart(controller: Controller): void;
  onResponseStart(controller: Controller, status: number, headers: AnswerHeaders): void;
  onResponseData(controller: Controller, chunk: Buffer): void;
  onResponseEnd(controller: Controller): void;
  /** Without a controller if there was no connection yet. */
  onResponseError(controller: Controller | null | undefined, error: Error): void;
}
