import { readFile } from 'node:fs/promises';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import t from 'tap';
import { ThreadProvider, useConnection, useThread } from '../src/react/index.js';

function Chat() {
  const { messages, status } = useThread('support');
  return createElement('p', {}, `${messages.length} ${status} ${useConnection().status}`);
}

t.test('on a server everything renders as an empty conversation, and nothing connects', async (t) => {
  const client = { url: () => t.fail('nothing asks for the address') as never };
  const html = renderToString(createElement(ThreadProvider, { client }, createElement(Chat)));
  t.equal(html, '<p>0 ready connecting</p>');
});

t.test('the error of useThread outside of a provider says what is missing', async (t) => {
  t.throws(() => renderToString(createElement(Chat)), /inside a ThreadProvider/);
});

t.test('a server component may use the provider: the entry is one of client components', async (t) => {
  const entry = await readFile(new URL('../dist/react/index.js', import.meta.url), 'utf8');
  t.match(entry, /^'use client';/);
});
