import { readFile } from 'node:fs/promises';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import t from 'tap';
import { ThreadProvider, useConnection, useThread } from '../src/react/index.js';

function Chat() {
  const { messages, status } = useThread('support');
  return createElement('p', {}, `${messages.length} ${status} ${useConnection().status}`);
}

const initialMessages = [{ id: '1', role: 'agent', text: 'Hello', status: 'done' }] as const;

function Said() {
  return createElement('p', {}, useThread('support', { initialMessages }).messages[0]?.text);
}

t.test('on a server everything renders as an empty conversation, and nothing connects', async (t) => {
  const client = { url: () => t.fail('nothing asks for the address') as never };
  const html = renderToString(createElement(ThreadProvider, { client }, createElement(Chat)));
  t.equal(html, '<p>0 ready connecting</p>');
});

t.test('on a server a conversation is rendered with what it begins with', async (t) => {
  const html = renderToString(createElement(ThreadProvider, { client: { url: '/ws' } }, createElement(Said)));
  t.equal(html, '<p>Hello</p>');
});

t.test('the error of useThread outside of a provider says what is missing', async (t) => {
  t.throws(() => renderToString(createElement(Chat)), /inside a ThreadProvider/);
});

t.test('a server component may use the provider: the entry is one of client components', async (t) => {
  const entry = await readFile(new URL('../dist/react/index.js', import.meta.url), 'utf8');
  t.match(entry, /^'use client';/);
});
