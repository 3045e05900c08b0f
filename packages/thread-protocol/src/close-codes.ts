/** The WebSocket close codes of the protocol, with who sends each of them and why. */
export const CloseCode = {
  /** Either side: closed on purpose. */
  Normal: 1000,
  /** Relay: the server shuts down. Client: the page is left or reloaded. */
  GoingAway: 1001,
  /** Relay: a binary message arrived where only text is allowed. */
  UnsupportedData: 1003,
  /** Never sent: what a client reports when the connection was lost without a close frame. */
  Abnormal: 1006,
  /** Relay: a text message is not UTF-8. */
  InvalidText: 1007,
  /** Relay: refused by a policy of the application. */
  PolicyViolation: 1008,
  /** Relay: a frame is larger than `maxFrameBytes`. */
  MessageTooBig: 1009,
  /** Relay: the relay itself failed. */
  InternalError: 1011,
  /** Relay: this node shuts down and others stay up. Connect again. */
  ServiceRestart: 1012,
  /** Relay: over capacity. Try again later. */
  TryAgainLater: 1013,
  /** Relay: the client is not authenticated. */
  Unauthorized: 4401,
  /** Relay: the origin of the page is not allowed. */
  Forbidden: 4403,
  /** Relay: nothing was sent or received for `idleTimeout`. */
  IdleTimeout: 4408,
  /** Relay: a newer connection took this session over. Do not connect again. */
  SessionTakenOver: 4409,
  /** Relay: too many invalid or rejected frames in a row. */
  TooManyBadFrames: 4429,
} as const;

export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];
