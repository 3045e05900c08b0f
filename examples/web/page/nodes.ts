import { button, el } from './dom.js';

interface ClusterNode {
  name: string;
  /** Undefined while it does not run. */
  sessions?: number;
}

const POLL_MS = 1000;

/** The footer of examples/cluster: which nodes there are, and a button that kills each. */
export function showNodes(footer: HTMLElement): void {
  let shown = '';
  const list = el('ul');
  footer.append(el('h2', {}, 'Nodes'), list);
  footer.hidden = false;

  async function update(): Promise<void> {
    const response = await fetch('/nodes');
    const text = await response.text();
    // Not replaced if nothing has changed, so that a button keeps its focus.
    if (text === shown) return;
    shown = text;
    list.replaceChildren(...(JSON.parse(text) as ClusterNode[]).map(item));
  }

  const poll = (): void => {
    // While the balancer is away, the line about the connection shows it.
    void update()
      .catch(() => undefined)
      .finally(() => setTimeout(poll, POLL_MS));
  };
  poll();
}

function item({ name, sessions }: ClusterNode): HTMLElement {
  if (sessions === undefined) return el('li', {}, el('span', {}, `${name}: down`));
  const label = `${name}: ${sessions} ${sessions === 1 ? 'session' : 'sessions'}`;
  const kill = button('Kill', 'quiet', () => {
    kill.disabled = true;
    void fetch(`/nodes/${name}`, { method: 'POST' }).catch(() => undefined);
  });
  kill.setAttribute('aria-label', `Kill node ${name}`);
  return el('li', {}, el('span', {}, label), kill);
}
