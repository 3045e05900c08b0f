/** Characters of a chat's id: it is kept with its thread, and sent with each message. */
const MAX_LENGTH = 1024;

/** The id that an agent gives a chat; undefined if it is too long to be kept. */
export function usableChatId(chatId: string | undefined): string | undefined {
  return chatId !== undefined && chatId.length > MAX_LENGTH ? undefined : chatId;
}
