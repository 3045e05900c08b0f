import { lexer, type MarkedToken, type Token, type Tokens } from 'marked';
import { el } from './dom.js';

const LINKS = /^(https?:|mailto:)/i;

/**
 * Markdown as elements. The parser only takes the text apart: elements are made one by one, so HTML in it stays text, and
 * nothing of it runs. Images are not loaded.
 */
export function markdown(text: string): Node[] {
  try {
    return blocks(lexer(text, { gfm: true, breaks: true }));
  } catch {
    // Nested more deeply than the parser can follow. It is kept over a reload, so an error here would end the page for good.
    return [el('p', {}, text)];
  }
}

function blocks(tokens: readonly Token[]): Node[] {
  return tokens.flatMap((token) => block(token as MarkedToken));
}

function block(token: MarkedToken): Node[] {
  switch (token.type) {
    case 'space':
    case 'def':
      return [];
    case 'heading':
      // The page has headings of its own: those of an answer begin below them.
      return [el('p', { class: 'heading' }, ...inline(token.tokens))];
    case 'paragraph':
      return [el('p', {}, ...inline(token.tokens))];
    case 'code':
      return [el('pre', { tabindex: '0' }, el('code', {}, token.text))];
    case 'blockquote':
      return [el('blockquote', {}, ...blocks(token.tokens))];
    case 'hr':
      return [el('hr')];
    case 'list':
      return [list(token)];
    case 'table':
      return [table(token)];
    case 'text':
      return token.tokens === undefined ? [new Text(unescaped(token))] : inline(token.tokens);
    default:
      return [el('p', {}, token.raw)];
  }
}

function list({ ordered, start, items }: Tokens.List): HTMLElement {
  const children = items.map((item) => el('li', {}, ...blocks(item.tokens)));
  if (!ordered) return el('ul', {}, ...children);
  return el('ol', typeof start === 'number' && start !== 1 ? { start: String(start) } : {}, ...children);
}

function table({ header, rows }: Tokens.Table): HTMLElement {
  const head = el('tr', {}, ...header.map(({ tokens }) => el('th', { scope: 'col' }, ...inline(tokens))));
  const body = rows.map((row) => el('tr', {}, ...row.map(({ tokens }) => el('td', {}, ...inline(tokens)))));
  const element = el('table', {}, el('thead', {}, head), el('tbody', {}, ...body));
  return el('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Table' }, element);
}

function inline(tokens: readonly Token[] = []): Node[] {
  return tokens.map((token) => span(token as MarkedToken));
}

function span(token: MarkedToken): Node {
  switch (token.type) {
    case 'strong':
      return el('strong', {}, ...inline(token.tokens));
    case 'em':
      return el('em', {}, ...inline(token.tokens));
    case 'del':
      return el('del', {}, ...inline(token.tokens));
    case 'codespan':
      return el('code', {}, token.text);
    case 'br':
      return el('br');
    case 'link': {
      const children = inline(token.tokens);
      if (!LINKS.test(token.href)) return el('span', {}, ...children);
      return el('a', { href: token.href, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...children);
    }
    case 'image':
      return new Text(token.text);
    case 'escape':
    case 'text':
      return new Text(unescaped(token));
    default:
      return new Text(token.raw);
  }
}

/** The text as it was written: the parser's own `text` may have entities in it. */
function unescaped({ raw, text, type }: Tokens.Text | Tokens.Escape): string {
  return type === 'escape' ? text : raw;
}
