import type { ChatState, ChatStatus, UIMessage } from 'ai';
import t, { type Test } from 'tap';
import { ThreadChatTransport, UnsupportedTriggerError } from '../src/ai/index.js';
import type { ThreadClient } from '../src/index.js';
import { createWorld, failure, state } from './world.js';

const major = Number(process.versions.node.split('.')[0]);
const skip = major < 22 && `the AI SDK 7 needs Node 22, and this is ${process.version}`;

/** What `useChat` keeps in React, kept in fields. */
class State implements ChatState<UIMessage> {
  status: ChatStatus = 'ready';
  error: Error | undefined;
  messages: UIMessage[];

  constructor(messages: UIMessage[]) {
    this.messages = messages;
  }

  pushMessage = (message: UIMessage): void => void this.messages.push(message);
  popMessage = (): void => void this.messages.pop();
  replaceMessage = (index: number, message: UIMessage): void => void this.messages.splice(index, 1, message);
  snapshot = <T>(value: T): T => structuredClone(value);
}

async function chatOf(t: Test, client: ThreadClient, messages: UIMessage[] = []) {
  const { AbstractChat } = await import('ai');
  class Chat extends AbstractChat<UIMessage> {}
  const transport = new ThreadChatTransport({ client, agentId: 'support' });
  const chat = new Chat({ id: 'chat-1', transport, state: new State(messages) });
  t.teardown(() => chat.stop());
  return { chat, transport };
}

const textOf = ({ parts }: UIMessage): string => parts.map((part) => (part.type === 'text' ? part.text : '')).join('');

t.test('a chat of the AI SDK streams the answers of an agent, and sends only the last message', { skip }, async (t) => {
  const { agent, client } = await createWorld(t);
  const { chat } = await chatOf(t, client());
  await chat.sendMessage({ text: 'Hello' });
  await chat.sendMessage({ text: 'again' });
  t.strictSame(chat.messages.map(textOf), ['Hello', 'support #1: Hello', 'again', 'support #2: again']);
  t.equal(chat.status, 'ready');
  t.equal(new Set(chat.messages.map(({ id }) => id)).size, 4);
  t.match(agent.requests.at(-1)?.params, { message: { parts: [{ type: 'text', content: 'again' }] } });
});

t.test('a stream that is under way is resumed from its beginning under the same message id', { skip }, async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  let goOn = (): void => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  agent.script('chat.start', async function* () {
    yield 'first ';
    await gate;
    yield 'second';
  });
  const first = await chatOf(t, one);
  const sending = first.chat.sendMessage({ text: 'Hello' });
  await agent.waitFor(({ counters }) => counters.running === 1);
  const half = new Promise<void>((resolve) => {
    const look = (): unknown =>
      textOf(first.chat.messages[1] ?? { id: '', role: 'user', parts: [] }) === 'first '
        ? resolve()
        : setImmediate(look);
    look();
  });
  await half;
  const again = await chatOf(t, one, structuredClone(first.chat.messages));
  const resuming = again.chat.resumeStream();
  goOn();
  await Promise.all([sending, resuming]);
  for (const { chat } of [first, again]) t.strictSame(chat.messages.map(textOf), ['Hello', 'first second']);
  t.equal(again.chat.messages[1]?.id, first.chat.messages[1]?.id);
  t.equal(await again.transport.reconnectToStream({ chatId: 'chat-1' }), null);
});

t.test('stopping a chat leaves the agent alone, and the stop of the transport cancels', { skip }, async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const gate = agent.hold();
  const { chat, transport } = await chatOf(t, one);
  const sending = chat.sendMessage({ text: 'Hello' });
  await gate.arrived;
  await chat.stop();
  await sending;
  t.equal(one.pending().length, 1);
  transport.stop('chat-1');
  t.match(await failure(one.pending()[0]?.result ?? Promise.resolve()), { code: 'CANCELLED' });
  gate.release();
});

t.test('an error of the agent is the error of the chat', { skip }, async (t) => {
  const { agent, client } = await createWorld(t);
  agent.script('chat.start', { error: { code: -42_004, message: 'Broken' } });
  const { chat } = await chatOf(t, client());
  await chat.sendMessage({ text: 'Hello' });
  t.match(chat.error, { message: 'Broken' });
  t.equal(chat.status, 'error');
});

t.test('an answer cannot be generated again, and the error says so by its class', async (t) => {
  const { client } = await createWorld(t);
  const one = client();
  await state(one, 'open');
  const transport = new ThreadChatTransport({ client: one, agentId: 'support' });
  const options = { chatId: 'c', messageId: undefined, messages: [], abortSignal: undefined };
  for (const trigger of ['regenerate-message', 'submit-message'] as const) {
    const error = await failure(transport.sendMessages({ ...options, trigger }));
    t.ok(error instanceof UnsupportedTriggerError);
    t.match(error, { code: 'UNSUPPORTED_TRIGGER' });
  }
});

t.test('events and metadata of the agent are data of the chat, and its files and data are passed on', async (t) => {
  const { agent, client } = await createWorld(t);
  agent.script('chat.start', {
    reply: ['text', { event: 'progress', data: { percent: 50 } }, { event: 'metadata', data: 7 }],
  });
  const transport = new ThreadChatTransport({ client: client(), agentId: 'support' });
  const message: UIMessage = {
    id: 'm',
    role: 'user',
    parts: [
      { type: 'text', text: 'Look' },
      { type: 'file', url: 'data:,x', mediaType: 'text/plain' },
      { type: 'data-place', data: 1 },
      { type: 'step-start' },
    ],
  };
  const options = { chatId: 'c', messageId: undefined, messages: [message], abortSignal: undefined };
  const stream = await transport.sendMessages({ ...options, trigger: 'submit-message' });
  const chunks: unknown[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  t.match(chunks, [
    { type: 'start' },
    { type: 'text-start' },
    { type: 'text-delta', delta: 'text' },
    { type: 'data-progress', data: { percent: 50 }, transient: true },
    { type: 'data-metadata', data: 7 },
    { type: 'text-end' },
    { type: 'finish' },
  ]);
  t.match(agent.requests[0]?.params, {
    initialMessage: { parts: [{ type: 'text' }, { type: 'file', content: 'data:,x' }, { type: 'data', content: 1 }] },
  });
});

t.test('files and data of the agent are parts of its message, in a stream and in a whole answer', async (t) => {
  const { agent, client } = await createWorld(t);
  const transport = new ThreadChatTransport({ client: client(), agentId: 'support' });
  const message: UIMessage = { id: 'm', role: 'user', parts: [{ type: 'text', text: 'Look' }] };
  const options = { chatId: 'c', messageId: undefined, messages: [message], abortSignal: undefined };
  const parts = [
    { type: 'file', content: 'data:,x', mimeType: 'text/plain' },
    { type: 'data', content: { rows: 2 } },
    { type: 'ImagePart', url: 'https://example.com/x.png' },
  ];
  agent.script('chat.start', { reply: ['text', ...parts] });
  const answer = { role: 'agent', parts: [{ type: 'TextPart', content: 'text' }, ...parts] };
  const result = { type: 'chat', chat: { chatId: 'c-1', message: answer } };
  const body = JSON.stringify({ arc: '1.0', id: '1', responseAgent: 'support', targetAgent: 'me', result });
  agent.script('chat.message', { status: 200, body, headers: { 'content-type': 'application/json' } });
  for (const how of ['streamed', 'whole']) {
    const stream = await transport.sendMessages({ ...options, trigger: 'submit-message' });
    const chunks: unknown[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    const expected = [
      { type: 'file', url: 'data:,x', mediaType: 'text/plain' },
      { type: 'data-data', data: { rows: 2 } },
      { type: 'data-ImagePart', data: { type: 'ImagePart', url: 'https://example.com/x.png' } },
    ];
    t.strictSame(chunks.slice(3, 6), expected, how);
  }
});

t.test('the transport finds the answer that is under way, stops it, and leaves other chats alone', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const transport = new ThreadChatTransport({ client: one, agentId: 'support' });
  const message: UIMessage = { id: 'm', role: 'user', parts: [{ type: 'text', text: 'Hello' }] };
  const options = {
    trigger: 'submit-message' as const,
    messageId: undefined,
    messages: [message],
    abortSignal: undefined,
  };
  const gate = agent.hold();
  const stream = await transport.sendMessages({ ...options, chatId: 'a' });
  const other = await transport.sendMessages({ ...options, chatId: 'b' });
  await gate.arrived;
  const again = await transport.reconnectToStream({ chatId: 'a' });
  t.equal(await transport.reconnectToStream({ chatId: 'c' }), null);
  transport.stop('a');
  for (const each of [stream, again]) {
    const chunks: string[] = [];
    for await (const { type } of each ?? []) chunks.push(type);
    t.strictSame(chunks, ['start', 'abort']);
  }
  t.equal(one.pending().length, 1);
  await other.cancel();
  t.equal(one.pending().length, 1, 'leaving a stream cancels nothing');
  gate.release();
  await one.pending()[0]?.result;

  agent.script({}, { error: { code: -42_004, message: 'Broken' } });
  const failed = await transport.sendMessages({ ...options, chatId: 'd' });
  const chunks: unknown[] = [];
  for await (const chunk of failed) chunks.push(chunk);
  t.strictSame(chunks[1], { type: 'error', errorText: 'Broken' });
});
