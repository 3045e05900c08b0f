import { byId } from './dom.js';

/** The field that messages are written in. Every agent keeps its own draft. */
export class Composer {
  readonly #form = byId('composer', HTMLFormElement);
  readonly #field = byId('message', HTMLTextAreaElement);
  readonly #label = byId('message-label', HTMLLabelElement);
  readonly #send = byId('send', HTMLButtonElement);
  readonly #stream = byId('stream', HTMLInputElement);
  readonly #note = byId('note', HTMLElement);
  readonly #drafts = new Map<string, string>();
  #agentId = '';

  /** `onSend` returns whether the text was sent. If not, it stays in the field. */
  constructor(onSend: (text: string) => boolean, onResize: () => void) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      if (text === '') return;
      if (onSend(text)) this.#field.value = '';
      else this.refuse();
      this.#fit();
    });
    this.#field.addEventListener('keydown', (event) => {
      // While an input method composes a character, Enter chooses that character.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#field.addEventListener('input', () => this.#fit());
    new ResizeObserver(onResize).observe(this.#form);
  }

  get stream(): boolean {
    return this.#stream.checked;
  }

  set stream(on: boolean) {
    this.#stream.checked = on;
  }

  talkTo(agent: { id: string; name: string }): void {
    this.#drafts.set(this.#agentId, this.#field.value);
    this.#agentId = agent.id;
    this.#field.value = this.#drafts.get(agent.id) ?? '';
    this.#field.placeholder = `Message ${agent.name}`;
    this.#label.textContent = `Message to ${agent.name}`;
    this.#fit();
  }

  focus(): void {
    this.#field.focus();
  }

  /** Not `disabled`, which would take the focus away from the user. */
  connected(on: boolean): void {
    this.#send.setAttribute('aria-disabled', String(!on));
    if (on) this.#note.textContent = '';
  }

  /** Says why nothing was sent. */
  refuse(): void {
    this.#note.textContent = 'Not connected: nothing was sent.';
  }

  #fit(): void {
    this.#field.style.height = 'auto';
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}
