import { CloseCode } from '@arc/thread-protocol';
import type { ClusterNode } from './cluster-node.js';
import type { ResumeRequest } from './move-messages.js';

/** Messages from the node that has a client's socket to the node that owns its session. */
export type OwnerEvent =
  /** A frame of the client: the n-th that counts, or an acknowledgement. */
  | { event: 'frame'; n?: number; text: string }
  /** A frame that exceeded `frameRate`, or a ping too many. */
  | { event: 'excess'; n?: number; text: string }
  /** The socket is closed. */
  | { event: 'gone'; code: number }
  /** Whether the owner still has the link. */
  | PingEvent;

/** Messages from the owner to that node. */
export type GatewayEvent =
  /** Frames up to this number are in the store. */
  | { event: 'frames'; end: number }
  /** A frame that is not numbered. `got`: how many frames of the client were taken. */
  | { event: 'control'; text: string; got: number }
  /**
   * Closes the socket, once the frames up to `end` are written. `frames`: the last ones, up to `end`. A session that ends
   * leaves nothing in the store, from which they could be read.
   */
  | { event: 'close'; end: number; code: number; reason: string; frames?: string[] }
  /** The session was handed over to the node that has the socket. `request`: what that node had asked for it with. */
  | { event: 'moved'; end: number; request?: ResumeRequest }
  /** Whether the other node still has the link. */
  | PingEvent;

interface PingEvent {
  event: 'ping';
}

export type LinkEvent = OwnerEvent | GatewayEvent;

export interface LinkMessage {
  type: 'link';
  link: string;
  from: string;
  event: LinkEvent;
}

/** Receives the messages of one link. */
export interface LinkListener {
  /** A message of the other end. */
  onMessage(event: LinkEvent): void;
  /** The other node is dead, or cannot be reached. */
  onPeerLost(): void;
}

/** The links of a node to others: each joins a session to a socket on another node. */
export class Links {
  readonly #node: ClusterNode;
  readonly #onMoved: (request: ResumeRequest) => void;
  readonly #listeners = new Map<string, LinkListener>();
  /** The last message to each link's other end: they are posted in order. */
  readonly #posts = new Map<string, Promise<void>>();

  /** `onMoved`: a session was handed over to this node, and its link is not known here. */
  constructor(node: ClusterNode, onMoved: (request: ResumeRequest) => void) {
    this.#node = node;
    this.#onMoved = onMoved;
  }

  get size(): number {
    return this.#listeners.size;
  }

  add(link: string, listener: LinkListener): void {
    this.#listeners.set(link, listener);
  }

  remove(link: string): void {
    this.#listeners.delete(link);
  }

  /** Posts to the other end. Resolves when the store has the message, or could not take it; never rejects. */
  post(peer: string, link: string, event: LinkEvent): Promise<void> {
    const { store, node, logger } = this.#node;
    const message: LinkMessage = { type: 'link', link, from: node.name, event };
    const previous = this.#posts.get(link) ?? Promise.resolve();
    const posted = previous.then(async () => {
      const isPosted = await store.post(peer, { ...message, event: { ...event } }).catch((err: unknown) => {
        logger.warn({ peer, err }, 'a message to another node of the cluster could not be posted');
        return false;
      });
      if (!isPosted) this.#listeners.get(link)?.onPeerLost();
      if (this.#posts.get(link) === posted) this.#posts.delete(link);
    });
    this.#posts.set(link, posted);
    return posted;
  }

  /** A message of another node. If this node does not have its link any more, the answer is `gone`. */
  onMessage({ link, from, event }: LinkMessage): void {
    const listener = this.#listeners.get(link);
    if (listener !== undefined) return listener.onMessage(event);
    // Its client has left, or this process was started under the name of the one that had the client.
    if (event.event === 'moved' && event.request !== undefined) return this.#onMoved(event.request);
    // The owner creates the link. What it sends before this node knows the link is not needed.
    const isQuestion = event.event === 'ping' || event.event === 'frame' || event.event === 'excess';
    if (isQuestion) void this.post(from, link, { event: 'gone', code: CloseCode.Abnormal });
  }
}
