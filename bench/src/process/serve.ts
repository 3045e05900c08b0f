/** The functions of a child process. Arguments and results are sent as JSON. */
export type Api = Record<string, (...args: never[]) => unknown>;

export interface Question {
  call: number;
  method: string;
  args: unknown[];
}

export interface Answer {
  call: number;
  value?: unknown;
  error?: string;
}

/** Answers the parent's calls, and exits when the parent does. */
export function serve(api: Api): void {
  process.on('disconnect', () => process.exit());
  process.on('message', async (message) => {
    const { call, method, args } = message as Question;
    try {
      const value = await (api[method] as (...args: unknown[]) => unknown)(...args);
      process.send?.({ call, value } satisfies Answer);
    } catch (error) {
      process.send?.({ call, error: String((error as Error)?.stack ?? error) } satisfies Answer);
    }
  });
}
