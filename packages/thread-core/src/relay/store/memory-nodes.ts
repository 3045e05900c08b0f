import { type JsonValue, StoreError, type StoreNode } from './session-store.js';

type NodeName = Pick<StoreNode, 'name' | 'incarnation'>;

/** What one node's inbox holds at most. */
const MAX_INBOX_MESSAGES = 10_000;

/** How many former processes are remembered. One that is not counts as dead for ever. */
const MAX_FORMER = 1000;

interface Member {
  incarnation: string;
  expiresAt: number;
  inbox: JsonValue[];
  listener: ((message: JsonValue) => void) | undefined;
}

/** The nodes of a memory store: their leases and inboxes. */
export class Nodes {
  readonly #members = new Map<string, Member>();
  /** When leases ended that are not the current ones of their names: by name and incarnation. */
  readonly #former = new Map<string, number>();

  takeName({ name, incarnation }: StoreNode): void {
    const current = this.#members.get(name);
    if (current?.incarnation === incarnation) return;
    this.#retire(name);
    this.#members.set(name, { incarnation, expiresAt: 0, inbox: [], listener: undefined });
  }

  renew(node: StoreNode): void {
    this.takeName(node);
    (this.#members.get(node.name) as Member).expiresAt = performance.now() + node.lease;
  }

  leave(node: StoreNode): void {
    if (this.#members.get(node.name)?.incarnation === node.incarnation) this.#retire(node.name);
  }

  /** Whether no other process has the node's name. */
  isCurrent({ name, incarnation }: NodeName): boolean {
    const member = this.#members.get(name);
    return member === undefined || member.incarnation === incarnation;
  }

  isAlive(node: NodeName): boolean {
    return this.expiry(node) > performance.now();
  }

  /** When a node's lease ends, or did. */
  expiry({ name, incarnation }: NodeName): number {
    const member = this.#members.get(name);
    if (member?.incarnation === incarnation) return member.expiresAt;
    return this.#former.get(`${name}/${incarnation}`) ?? 0;
  }

  living(name: string): NodeName | undefined {
    const member = this.#members.get(name);
    if (member === undefined || member.expiresAt <= performance.now()) return undefined;
    return { name, incarnation: member.incarnation };
  }

  names(): string[] {
    return [...this.#members.keys()].filter((name) => this.living(name) !== undefined);
  }

  post(to: string, message: JsonValue): boolean {
    if (this.living(to) === undefined) return false;
    const member = this.#members.get(to) as Member;
    if (member.inbox.length >= MAX_INBOX_MESSAGES) throw new StoreError('full', `The inbox of node ${to} is full`);
    member.inbox.push(message);
    if (member.inbox.length === 1) queueMicrotask(() => deliver(member));
    return true;
  }

  listen(node: StoreNode, listener: (message: JsonValue) => void): () => void {
    const member = this.#members.get(node.name);
    if (member === undefined) throw new StoreError('failed', `The node ${node.name} has not joined`);
    member.listener = listener;
    queueMicrotask(() => deliver(member));
    return () => {
      if (member.listener === listener) member.listener = undefined;
    };
  }

  clear(): void {
    // Listeners stay, as blocking reads survive a flush.
    for (const member of this.#members.values()) {
      member.expiresAt = 0;
      member.inbox = [];
    }
    this.#former.clear();
  }

  #retire(name: string): void {
    const member = this.#members.get(name);
    if (member === undefined) return;
    this.#former.set(`${name}/${member.incarnation}`, Math.min(member.expiresAt, performance.now()));
    const oldest = this.#former.keys().next();
    if (this.#former.size > MAX_FORMER && !oldest.done) this.#former.delete(oldest.value);
    this.#members.delete(name);
  }
}

function deliver(member: Member): void {
  while (member.listener !== undefined) {
    const message = member.inbox.shift();
    if (message === undefined) return;
    try {
      member.listener(message);
    } catch {
      // A listener that fails on one message still gets the next one.
    }
  }
}
