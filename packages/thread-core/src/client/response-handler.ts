import type { Dispatcher } from 'undici';

/** What undici gives to control an answer with. */
export type Controller = Pick<Dispatcher.DispatchController, 'abort' | 'pause' | 'resume'>;

/** The headers of an answer, by their names in lower case. */
export type AnswerHeaders = Record<string, string | string[] | undefined>;

/** Hears the answer to a request: undici's current handler, of which none of the methods is optional. */
export interface ResponseHandler {
  /** There is a connection, and the first byte is written next. To throw is to give the connection back unused. */
  onRequestStart(controller: Controller): void;
  onResponseStart(controller: Controller, status: number, headers: AnswerHeaders): void;
  onResponseData(controller: Controller, chunk: Buffer): void;
  onResponseEnd(controller: Controller): void;
  /** Without a controller where there was no connection yet. */
  onResponseError(controller: Controller | null | undefined, error: Error): void;
}

/** The same for whoever makes a request. */
export interface RequestHandler extends ResponseHandler {
  /** It wants to hear no more. A request that still waits for a connection is not sent. */
  readonly isSettled: boolean;
  /** Runs whatever sends the request, if it is given. */
  readonly run?: ((send: () => void) => void) | undefined;
}
