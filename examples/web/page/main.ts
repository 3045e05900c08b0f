import { Composer } from './composer.js';
import { Connection, type ConnectionState, meaningOf } from './connection.js';
import { byId, el, setText } from './dom.js';
import type { RelayFrame } from './frames.js';
import { type Agent, type Link, markOf, Thread } from './thread.js';

interface Config {
  agents: Omit<Agent, 'hue'>[];
  stream: boolean;
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

  const link: Link = {
    send: (frame) => connection.send(frame),
    say: (thread, text) => {
      const sent = thread.send(text, composer.stream);
      if (!sent) composer.refuse();
      else if (!touch.matches) composer.focus();
      return sent;
    },
    changed: (thread) => {
      if (thread === active && document.visibilityState === 'visible') thread.unread = 0;
      tabs.get(thread)?.update(thread, thread === active);
      if (thread === active) showDetails();
      showUnread();
    },
  };

  const connection = new Connection(
    `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`,
    (state) => {
      showConnection(state);
      composer.connected(state.name === 'connected');
      if (state.name === 'closed') for (const thread of tabs.keys()) thread.disconnected(state.code);
      showDetails();
    },
    (frame) => threadOf(frame).receive(frame),
  );

  const composer: Composer = new Composer(
    (text) => active.send(text, composer.stream),
    () => active.transcript.resized(),
  );
  composer.stream = config.stream;

  const threads = config.agents.map((agent, index) => new Thread({ ...agent, hue: index % 6 }, link));
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

  /** The thread that a frame is for: by the send that it answers, by its agent, and what is for none is shown where one looks. */
  function threadOf(frame: RelayFrame): Thread {
    return (
      threads.find((thread) => thread.owns(frame.id)) ??
      threads.find((thread) => thread.agent.id === frame.agent_id) ??
      active
    );
  }

  function choose(thread: Thread): void {
    active.transcript.element.hidden = true;
    const before = active;
    active = thread;
    thread.transcript.element.hidden = false;
    composer.talkTo(thread.agent);
    link.changed(before);
    link.changed(thread);
    thread.transcript.resized();
  }

  function showDetails(): void {
    setText(byId('agent-name', HTMLElement), active.agent.name);
    showId('chat-id', active.chatId);
    showId('trace-id', active.traceId);
    setText(endButton, active.isEnding ? 'Ending…' : 'End chat');
    endButton.hidden = !active.hasChat;
    endButton.setAttribute('aria-disabled', String(active.isEnding || connection.state.name !== 'connected'));
  }

  function showUnread(): void {
    const unread = threads.reduce((sum, thread) => sum + thread.unread, 0);
    document.title = unread === 0 ? TITLE : `(${unread}) ${TITLE}`;
  }

  endButton.addEventListener('click', () => {
    active.end();
    if (!touch.matches) composer.focus();
  });
  byId('reconnect', HTMLButtonElement).addEventListener('click', () => {
    connection.connect();
    if (!touch.matches) composer.focus();
  });
  document.addEventListener('visibilitychange', () => link.changed(active));
  followKeyboard(() => active.transcript.resized());

  choose(first);
  connection.connect();
  if (!touch.matches) composer.focus();
}

/** An agent in the list, with what is going on in its thread. */
class AgentTab {
  readonly element: HTMLButtonElement;
  readonly #state = el('span', { 'aria-hidden': 'true' });
  readonly #note = el('span', { class: 'sr-only' });

  constructor(agent: Agent, onChoose: () => void) {
    const names = el('span', { class: 'tab-names' }, el('span', { class: 'tab-name' }, agent.name, this.#note));
    if (agent.about !== '') names.append(el('span', { class: 'tab-about', 'aria-hidden': 'true' }, agent.about));
    this.element = el('button', { type: 'button', class: 'tab' }, markOf(agent), names, this.#state);
    this.element.addEventListener('click', onChoose);
  }

  update(thread: Thread, isActive: boolean): void {
    if (isActive) this.element.setAttribute('aria-current', 'true');
    else this.element.removeAttribute('aria-current');
    const { unread, isRunning, chatId } = thread;
    this.#state.className = `tab-state ${unread > 0 ? 'unread' : isRunning ? 'running' : chatId === undefined ? 'none' : 'open'}`;
    setText(this.#state, unread > 0 ? String(unread) : '');
    setText(this.#note, unread > 0 ? `${unread} unread` : isRunning ? 'answering' : '');
  }
}

function showId(id: string, value: string | undefined): void {
  const element = byId(id, HTMLElement);
  setText(element, value ?? 'none yet');
  element.title = value ?? '';
  element.classList.toggle('absent', value === undefined);
}

let countdown: number | undefined;

function showConnection(state: ConnectionState): void {
  const element = byId('connection', HTMLElement);
  const retry = byId('connection-retry', HTMLElement);
  element.dataset.state = state.name;
  clearInterval(countdown);
  retry.textContent = '';
  byId('reconnect', HTMLButtonElement).hidden = state.name !== 'closed';
  byId('connection-state', HTMLElement).textContent = describe(state);
  if (state.name !== 'closed' || state.retryAt === undefined) return;
  const { retryAt } = state;
  // Apart from the state, which is read out: a number that changes each second is not.
  const tick = () => {
    retry.textContent = `Trying again in ${Math.max(1, Math.ceil((retryAt - Date.now()) / 1000))} s`;
  };
  tick();
  countdown = window.setInterval(tick, 1000);
}

function describe(state: ConnectionState): string {
  if (state.name === 'connected') return 'Connected';
  if (state.name === 'connecting') return 'Connecting…';
  return `${meaningOf(state.code)} (${state.code}${state.reason === '' ? '' : `, ${state.reason}`})`;
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
