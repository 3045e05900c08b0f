// What an application writes on @arc/thread-client/ai, which test/types.test.ts compiles as its users may: it is never run.
import { createThreadClient } from '@arc/thread-client';
import { ThreadChatTransport, UnsupportedTriggerError } from '@arc/thread-client/ai';
import type { ChatInit, ChatTransport, UIMessage } from 'ai';

type Message = UIMessage<{ model: string }, { city: { name: string } }>;

const client = createThreadClient({ url: '/ws' });
const transport = new ThreadChatTransport({ client, agentId: 'support' });
transport.stop('chat-1');
/** What `useChat` takes, with messages of the SDK and of the application. */
export const chat: ChatInit<UIMessage> = { id: 'chat-1', transport };
export const typed: ChatTransport<Message> = new ThreadChatTransport<Message>({ client, agentId: 'support' });
export const code: 'UNSUPPORTED_TRIGGER' = new UnsupportedTriggerError('').code;

// @ts-expect-error: no agent
new ThreadChatTransport({ client });
