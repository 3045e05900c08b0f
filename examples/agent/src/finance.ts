import { address, type Talk } from './talk.js';

const ADDED = /\binvoice\s+#?(\w+)\D{0,80}?\b(?:for|over|of|is)\s+\D{0,4}(\d+(?:\.\d{1,2})?)/i;

/** Takes down invoices, finds them again, and adds them up. */
export function finance(talk: Talk): string {
  const { text, earlier } = talk;
  // The last amount said for an invoice counts, so that it can be corrected.
  const invoices = new Map([...earlier, text].flatMap(invoiceIn));
  const total = `${invoices.size} invoice${invoices.size === 1 ? '' : 's'}, ${money(sum(invoices.values()))} in all`;
  const [added] = invoiceIn(text);
  if (added !== undefined) return `Noted: invoice ${added[0]} over ${money(added[1])}. That makes ${total}.`;
  if (/\b(total|sum|all|how much|add up)\b/i.test(text)) {
    return invoices.size === 0 ? 'You have not given me any invoice yet.' : `You have ${total}${address(talk)}.`;
  }
  const wanted = /\binvoice\s+#?(\w*\d\w*)/i.exec(text)?.[1];
  if (wanted !== undefined) {
    const amount = invoices.get(wanted);
    if (amount === undefined) return `I do not know invoice ${wanted}. What is its amount?`;
    return `Invoice ${wanted} is over ${money(amount)}. Shall I add another one?`;
  }
  return `Hello${address(talk)}. Give me an invoice, as in "invoice 17 over 120.50", or ask for the total.`;
}

function invoiceIn(text: string): [string, number][] {
  const [, id, amount] = ADDED.exec(text) ?? [];
  return id === undefined ? [] : [[id, Number(amount)]];
}

function sum(amounts: Iterable<number>): number {
  return [...amounts].reduce((all, amount) => all + amount, 0);
}

function money(amount: number): string {
  return `€${amount.toFixed(2)}`;
}
