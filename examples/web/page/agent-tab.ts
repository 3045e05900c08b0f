import { el, setText } from './dom.js';
import { type Agent, markOf, type Thread } from './thread.js';

/** An agent in the list, with the state of its thread. */
export class AgentTab {
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
