import type { Call, CallListener, CallRequest } from '../client/call.js';
import type { ThreadChange, ThreadEntry } from './store.js';

/** What a send does to threads and their chats. */
export interface ThreadActions {
  /** Makes a call. Its `start` calls functions of the application, which may cancel the send: so the send must know the call. */
  prepareCall(request: CallRequest, listener: CallListener): Call;
  /** What has to be done before a chat.start is sent. It calls the hook of the application, which may cancel the send. */
  beforeStart(entry: ThreadEntry): Promise<void> | undefined;
  /** What has to be done before a message is sent that has waited for others. */
  beforeWaiting(): Promise<void> | undefined;
  updateThread(entry: ThreadEntry, change: ThreadChange): void;
  /** Forgets a thread that has no chat. */
  removeThread(entry: ThreadEntry): void;
  /** Forgets a thread that may have a chat, and ends that in the background. */
  abandonThread(entry: ThreadEntry): void;
  /** Ends a chat that is no thread's, in the background. */
  endChat(entry: ThreadEntry): void;
}
