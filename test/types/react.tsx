// What an application writes on @arc/thread-client/react, which test/types.test.ts compiles as its users may: it is never run.
import type { Turn } from '@arc/thread-client';
import { type ThreadMessage, ThreadProvider, useConnection, useThread } from '@arc/thread-client/react';

/** What an application may not have is passed on as it is. */
function Chat({ agent, topic }: { agent: string; topic?: string }) {
  const { messages, status, error, send, stop, end } = useThread(agent, { contextId: topic });
  const connection = useConnection();
  const ask = (text: string): Turn => send(text, { traceId: undefined });
  const line = ({ id, role, text, error }: ThreadMessage) => <p key={id}>{error?.message ?? `${role}: ${text}`}</p>;
  return (
    <form action={(data) => void ask(String(data.get('text')))}>
      {messages.map(line)}
      {error !== undefined && <p role="alert">{error.message}</p>}
      {(status === 'submitted' || status === 'streaming') && <button type="button" onClick={stop} />}
      {connection.status === 'waiting' && <button type="button" onClick={() => void end('Done')} />}
    </form>
  );
}

export const App = () => (
  <ThreadProvider client={{ url: '/ws' }}>
    <Chat agent="support" />
    <Chat agent="support" topic="printers" />
  </ThreadProvider>
);

/** Its children are optional, and its client is not. */
export const Empty = () => <ThreadProvider client={{ url: '/ws' }} />;
// @ts-expect-error: no client
export const Missing = () => <ThreadProvider />;
