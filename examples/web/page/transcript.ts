import type { ArcPart } from '@arc/thread-protocol';
import { button, el } from './dom.js';
import { markdown } from './markdown.js';
import { type ShownError, textOfPart } from './parts.js';

/** How near to its end (in pixels) a transcript has to be to scroll with new messages. */
const NEAR_END = 48;

function json(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? String(value));
}

/** The conversation between a person and one agent, as the page shows it. */
export class Transcript {
  readonly element: HTMLElement;
  readonly #log: HTMLElement;
  readonly #empty: HTMLElement;
  readonly #latest: HTMLButtonElement;
  readonly #agentName: string;
  #running = 0;
  #following = true;

  constructor(agentName: string, empty: HTMLElement) {
    this.#agentName = agentName;
    this.#empty = empty;
    this.#log = el('div', {
      class: 'log',
      role: 'log',
      'aria-live': 'polite',
      'aria-label': `Conversation with ${agentName}`,
    });
    this.#latest = button('Latest ↓', 'latest', () => this.toEnd());
    this.#latest.hidden = true;
    // A scrolling area that holds nothing to focus can only be reached by keyboard when it can be focused itself.
    this.element = el(
      'section',
      { class: 'transcript', tabindex: '0', 'aria-label': `${agentName}, transcript` },
      empty,
      this.#log,
      this.#latest,
    );
    this.element.hidden = true;
    this.element.addEventListener('scroll', () => this.#scrolled(), { passive: true });
  }

  /** A person's message, and the element for its answer. */
  exchange(text: string, onStop: () => void): Exchange {
    this.#following = true;
    const exchange = new Exchange(this, text, this.#agentName, onStop);
    this.#log.append(exchange.question, exchange.answer);
    this.changed();
    return exchange;
  }

  /** A remark of the page itself about the messages above it. `before` puts it further up. */
  notice(text: string, before?: HTMLElement): void {
    this.#log.insertBefore(el('div', { class: 'notice' }, el('span', {}, text)), before ?? null);
    this.changed();
  }

  /** An error that belongs to no message. */
  error(error: ShownError): void {
    this.#log.append(el('div', { class: 'answer' }, errorElement(error)));
    this.changed();
  }

  get isEmpty(): boolean {
    return this.#log.childElementCount === 0;
  }

  /** An answer began (+1) or ended (−1). While one arrives, a screen reader waits for the whole of it. */
  running(change: 1 | -1): void {
    this.#running += change;
    this.#log.setAttribute('aria-busy', String(this.#running > 0));
  }

  changed(): void {
    this.#empty.hidden = !this.isEmpty;
    if (this.#following) this.toEnd();
    else this.#latest.hidden = false;
  }

  toEnd(): void {
    this.#following = true;
    this.#latest.hidden = true;
    this.element.scrollTop = this.element.scrollHeight;
  }

  /** Keeps the end in sight when the area shrinks, as it does under a phone's keyboard. */
  resized(): void {
    if (this.#following) this.toEnd();
  }

  #scrolled(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    this.#following = scrollHeight - clientHeight - scrollTop < NEAR_END;
    if (this.#following) this.#latest.hidden = true;
  }
}

/** One message and its answer. */
export class Exchange {
  readonly question: HTMLElement;
  readonly answer: HTMLElement;
  readonly #transcript: Transcript;
  readonly #body: HTMLElement;
  readonly #waiting: HTMLElement;
  /** The text that is arriving, and its element. */
  #text = '';
  #textElement: HTMLElement | undefined;
  /** While it has text that is not shown yet. */
  #drawing: number | undefined;
  #events: HTMLElement | undefined;
  #eventsLabel: HTMLElement | undefined;
  readonly #eventNames: string[] = [];

  constructor(transcript: Transcript, text: string, agentName: string, onStop: () => void) {
    this.#transcript = transcript;
    this.question = el(
      'div',
      { class: 'question' },
      el('span', { class: 'sr-only' }, 'You: '),
      el('p', { class: 'bubble' }, text),
    );
    this.#body = el('div', { class: 'body' });
    this.#waiting = el(
      'div',
      { class: 'waiting' },
      el('span', { class: 'dots', 'aria-hidden': 'true' }, el('i'), el('i'), el('i')),
      el('span', { class: 'sr-only' }, `${agentName} is answering`),
      button('Stop', 'quiet small', onStop),
    );
    this.answer = el(
      'div',
      { class: 'answer' },
      el('span', { class: 'sr-only' }, `${agentName}: `),
      this.#body,
      this.#waiting,
    );
    transcript.running(1);
  }

  get hasContent(): boolean {
    return this.#body.childElementCount > 0;
  }

  /** The next piece of the answer. Its text is appended to the text before it. */
  add(parts: readonly ArcPart[]): void {
    for (const part of parts) {
      const text = textOfPart(part);
      if (text === undefined) {
        this.#render();
        this.#textElement = undefined;
        this.#body.append(partElement(part));
      } else if (text !== '') this.#say(text);
    }
    this.#transcript.changed();
  }

  /**
   * Markdown is read anew, since a piece may end inside a word of it: once for each picture that is drawn, because after a
   * reload thousands of pieces may come at once.
   */
  #say(text: string): void {
    if (this.#textElement === undefined) {
      this.#text = '';
      this.#textElement = el('div', { class: 'text' });
      this.#body.append(this.#textElement);
    }
    this.#text += text;
    this.#drawing ??= requestAnimationFrame(() => this.#render());
  }

  #render(): void {
    if (this.#drawing === undefined) return;
    cancelAnimationFrame(this.#drawing);
    this.#drawing = undefined;
    this.#textElement?.replaceChildren(...markdown(this.#text));
    this.#transcript.changed();
  }

  /** What an agent says about its answer, kept folded away. */
  addEvent(name: string, data: unknown): void {
    if (this.#events === undefined) {
      this.#eventsLabel = el('span');
      this.#events = el('details', { class: 'events' }, el('summary', {}, this.#eventsLabel));
      this.answer.insertBefore(this.#events, this.#waiting);
    }
    if (!this.#eventNames.includes(name)) this.#eventNames.push(name);
    if (this.#eventsLabel !== undefined) this.#eventsLabel.textContent = this.#eventNames.join(' · ');
    this.#events.append(el('pre', {}, `${name}  ${data === null ? '' : json(data)}`.trimEnd()));
    this.#transcript.changed();
  }

  finish(): void {
    if (!this.hasContent) this.#body.append(el('p', { class: 'remark' }, 'An answer without words.'));
    this.#ended();
  }

  stopped(): void {
    this.answer.append(
      el('p', { class: 'remark' }, this.hasContent ? 'Stopped here.' : 'Stopped before an answer came.'),
    );
    this.#ended();
  }

  failed(error: ShownError, onRetry: () => void, title = 'Error'): void {
    const element = errorElement(error, title);
    const retry = button('Send again', 'quiet small', () => {
      retry.remove();
      onRetry();
    });
    element.append(retry);
    this.question.classList.add('failed');
    this.answer.append(element);
    this.#ended();
  }

  #ended(): void {
    this.#render();
    // The focus goes to the answer when its Stop button goes away, not to the top of the page.
    if (this.#waiting.contains(document.activeElement)) this.#transcript.element.focus({ preventScroll: true });
    this.#waiting.remove();
    this.#transcript.running(-1);
    this.#transcript.changed();
  }
}

function partElement(part: ArcPart): HTMLElement {
  const { type, content, ...rest } = part;
  const shown = content === undefined ? rest : Object.keys(rest).length === 0 ? content : { content, ...rest };
  return el('figure', { class: 'part' }, el('figcaption', {}, type), el('pre', { tabindex: '0' }, json(shown)));
}

function errorElement(error: ShownError, title = 'Error'): HTMLElement {
  const element = el('div', { class: 'error' }, el('strong', {}, title));
  if (error.code !== undefined) element.append(' ', el('code', {}, String(error.code).replace('-', '−')));
  element.append(el('p', {}, error.message));
  if (error.details !== undefined) {
    element.append(el('details', {}, el('summary', {}, 'Details'), el('pre', { tabindex: '0' }, json(error.details))));
  }
  return element;
}
