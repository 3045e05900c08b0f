import { createThreadClient } from '@arc/thread-client';
import { AgentTab } from './agent-tab.js';
import { Composer } from './composer.js';
import { byId, el, setText } from './dom.js';
import { showNodes } from './nodes.js';
import { showStatus } from './status.js';
import { type Agent, Thread, type ThreadHost } from './thread.js';

interface Config {
  agents: Omit<Agent, 'hue'>[];
  stream: boolean;
  /** The page is served by several nodes. */
  nodes: boolean;
}

const touch = matchMedia('(pointer: coarse)');
const TITLE = document.title;

async function loadConfig(): Promise<Config> {
  const response = await fetch('/config.json');
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return (await response.json()) as Config;
}

function startPage(config: Config): void {
  const nav = byId('agents', HTMLElement);
  const transcripts = byId('transcripts', HTMLElement);
  const endButton = byId('end', HTMLButtonElement);
  const tabs = new Map<Thread, AgentTab>();

  const client = createThreadClient({ url: '/ws', storage: sessionStorage });
  const host: ThreadHost = {
    client,
    say: (thread, text) => {
      thread.send(text, composer.stream);
      if (!touch.matches) composer.focus();
    },
    changed: (thread) => {
      if (thread === active && document.visibilityState === 'visible') thread.unread = 0;
      tabs.get(thread)?.update(thread, thread === active);
      if (thread === active) showDetails();
      showUnread();
    },
  };

  const composer: Composer = new Composer(
    (text) => {
      if (client.state.status === 'closed') return false;
      active.send(text, composer.stream);
      return true;
    },
    () => active.transcript.resized(),
  );
  composer.stream = config.stream;
  if (config.nodes) showNodes(byId('nodes', HTMLElement));

  const threads = config.agents.map((agent, index) => new Thread({ ...agent, hue: index % 6 }, host));
  for (const thread of threads) {
    const tab = new AgentTab(thread.agent, () => {
      choose(thread);
      // On a phone the focus would open the keyboard over the transcript that was asked for.
      if (!touch.matches) composer.focus();
    });
    tabs.set(thread, tab);
    nav.append(tab.element);
    transcripts.append(thread.transcript.element);
  }
  const first = threads[0];
  if (first === undefined) throw new Error('the server names no agents');
  let active = first;

  function choose(thread: Thread): void {
    active.transcript.element.hidden = true;
    const before = active;
    active = thread;
    thread.transcript.element.hidden = false;
    composer.talkTo(thread.agent);
    host.changed(before);
    host.changed(thread);
    thread.transcript.resized();
  }

  function showState(): void {
    showStatus(client.state);
    // Without a connection a message waits for it; after a refusal it would wait for ever.
    composer.connected(client.state.status !== 'closed');
    showDetails();
  }

  function showDetails(): void {
    setText(byId('agent-name', HTMLElement), active.agent.name);
    showId('chat-id', active.chatId);
    showId('trace-id', active.traceId);
    setText(endButton, active.isEnding ? 'Ending…' : 'End chat');
    endButton.hidden = !active.hasChat;
    endButton.setAttribute('aria-disabled', String(active.isEnding || client.state.status !== 'open'));
  }

  function showUnread(): void {
    const unread = threads.reduce((sum, thread) => sum + thread.unread, 0);
    document.title = unread === 0 ? TITLE : `(${unread}) ${TITLE}`;
  }

  endButton.addEventListener('click', () => {
    void active.end();
    if (!touch.matches) composer.focus();
  });
  byId('reconnect', HTMLButtonElement).addEventListener('click', () => {
    client.wake();
    if (!touch.matches) composer.focus();
  });
  document.addEventListener('visibilitychange', () => host.changed(active));
  followKeyboard(() => active.transcript.resized());

  client.on('state', showState);
  client.on('lost', ({ reason }) => {
    const notice =
      reason === 'duplicate'
        ? 'This chat goes on in the tab that this one is a copy of.'
        : 'The connection was lost and the chat has ended with it.';
    for (const thread of threads) {
      if (thread.chatId !== undefined) thread.forgetChat(`${notice} The next message starts a new one.`);
    }
  });
  showState();
  choose(first);
  if (!touch.matches) composer.focus();
}

function showId(id: string, value: string | undefined): void {
  const element = byId(id, HTMLElement);
  setText(element, value ?? 'none yet');
  element.title = value ?? '';
  element.classList.toggle('absent', value === undefined);
}

/** iOS lays its keyboard over the page instead of making it smaller: the visible height is taken from the viewport. */
function followKeyboard(onResize: () => void): void {
  const viewport = window.visualViewport;
  if (viewport === null) return;
  viewport.addEventListener('resize', () => {
    // While zoomed in, the visible part is smaller for another reason.
    if (viewport.scale === 1) {
      document.documentElement.style.setProperty('--height', `${viewport.height}px`);
      window.scrollTo(0, 0);
    }
    onResize();
  });
}

try {
  startPage(await loadConfig());
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  byId('transcripts', HTMLElement).append(
    el('p', { class: 'fatal', role: 'alert' }, `This page could not start: ${reason}`),
  );
}
