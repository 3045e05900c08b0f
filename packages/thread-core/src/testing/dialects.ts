import type { ArcMethod } from '@arc/thread-protocol';

/** The answer of an agent that does not have the chat of a request. */
export interface LostChat {
  /** Default -43001. */
  code?: number;
  /** The HTTP status of the envelope. Default 404. */
  status?: number;
  /** The error's message. Default: `Chat not found: ` and the id. */
  message?: (chatId: string) => string;
  /** `event`: requests for a stream get one with HTTP status 200, whose first event is `error`. Default `envelope`. */
  as?: 'envelope' | 'event';
}

/** How an agent server differs from one that has all methods and keeps chats. */
export interface Dialect {
  lostChat?: LostChat;
  /** The methods that it has; all others are answered with -32601. Default: all. */
  methods?: readonly ArcMethod[];
  /** chat.start answers without a chat, and nothing is kept. Default false. */
  stateless?: boolean;
  /**
   * The answer if a handler throws anything but an `ArcError`: an envelope with -32603, or HTTP 500 with the text
   * `Internal Server Error`. Default `envelope`.
   */
  crash?: 'envelope' | 'bare-500';
}

const TASK_METHODS = ['task.create', 'task.send', 'task.info', 'task.cancel', 'task.subscribe'] as const;

/** Dialects of servers that exist, for `startTestAgent({ ...dialects.sdkRouter })`. */
export const dialects = {
  /** The Python SDK's `arc_test_server.py` and `multi_agent_example.py`. */
  sdkServer: {
    lostChat: { code: -32_603, status: 400, message: (chatId) => `Internal error: Chat not found: ${chatId}` },
  },
  /** The Python SDK's `fastapi_integration_example.py` and `starlette_integration_example.py`. */
  sdkRouter: { lostChat: { code: -32_600, status: 400, message: (chatId) => `Chat not found: ${chatId}` } },
  /** An agent without memory: each message is a chat.start. */
  stateless: { stateless: true, methods: ['chat.start', ...TASK_METHODS] },
  /** An agent that keeps chats, and has no method to end them. */
  withoutEnd: { methods: ['chat.start', 'chat.message', ...TASK_METHODS] },
  /** A web framework that answers an exception with a page of its own. */
  bare500: { crash: 'bare-500' },
} satisfies Record<string, Dialect>;
