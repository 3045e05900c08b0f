// A chat in React, as small as it can be: test/react.test.ts bundles it and opens it in a browser.

import { createElement as el, type FormEvent, type ReactElement, StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { type Thread, ThreadProvider, useConnection, useThread } from '../../src/react/index.js';

function Messages({ messages, status }: Thread): ReactElement {
  const items = messages.map(({ id, role, text, status }) =>
    el('li', { key: id, 'data-status': status }, `${role}: ${text}`),
  );
  return el('div', {}, el('ul', { id: 'messages' }, ...items), el('p', { id: 'status' }, status));
}

function Chat(): ReactElement {
  const thread = useThread('support', { contextId: 'page' });
  const same = useThread('support', { contextId: 'page' });
  const connection = useConnection();
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    thread.send(String(new FormData(event.currentTarget).get('text')));
  };
  return el(
    'main',
    {},
    el('p', { id: 'connection' }, connection.status),
    el(Messages, thread),
    el('p', { id: 'same' }, String(same.messages === thread.messages)),
    el('p', { id: 'error' }, thread.error instanceof Error ? thread.error.message : ''),
    el(
      'form',
      { onSubmit: submit },
      el('input', { name: 'text', 'aria-label': 'Message' }),
      el('button', { type: 'submit' }, 'Send'),
    ),
    el('button', { type: 'button', onClick: thread.stop }, 'Stop'),
    el('button', { type: 'button', onClick: () => void thread.end('Done') }, 'End'),
  );
}

function App(): ReactElement {
  const [isOpen, setOpen] = useState(true);
  const toggle = el('button', { type: 'button', onClick: () => setOpen(!isOpen) }, isOpen ? 'Leave' : 'Come back');
  const [client] = useState({ url: '/ws', storage: sessionStorage });
  return el('div', {}, toggle, isOpen ? el(ThreadProvider, { client }, el(Chat)) : null);
}

createRoot(document.body.appendChild(document.createElement('div'))).render(el(StrictMode, {}, el(App)));
