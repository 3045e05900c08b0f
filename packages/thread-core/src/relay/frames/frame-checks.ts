import type { ArcMessage, FrameId } from '@arc/thread-protocol';
import { isObject } from '../../values.js';

type JsonSchema = Readonly<Record<string, unknown>>;

/** What the reader and the published schema know of a check, whatever its type. */
export interface AnyCheck {
  readonly test: (value: unknown) => boolean;
  readonly schema: JsonSchema;
  /** Follows the name of a field whose value fails the test, for example `must be a string`. */
  readonly problem: string;
  /** Whatever value it has, the frame is valid: its user ignores what is wrong. */
  readonly isLenient?: boolean;
  /** For an object: its fields, so that an error can name the one that is wrong. */
  readonly fields?: AnyFields;
}

/**
 * What a field may hold, stated three times: as a test, as JSON Schema, and in the words of an error message.
 * `in out`: a check belongs to exactly one type. A check of a narrower or wider type is a compile error.
 */
export interface Check<in out Value> extends AnyCheck {
  readonly test: (value: unknown) => value is Value;
}

interface RequiredField<Value> {
  readonly isRequired: true;
  readonly check: Check<Value>;
}

interface OptionalField<Value> {
  readonly isRequired: false;
  readonly check: Check<Value>;
}

/**
 * The fields of a frame. The type demands an entry for each field of the interface, required where the interface
 * requires it, with a check of exactly the field's type. So a table cannot differ from its interface.
 */
export type Fields<Frame> = {
  readonly [Name in keyof Frame]-?: Partial<Pick<Frame, Name>> extends Pick<Frame, Name>
    ? OptionalField<Exclude<Frame[Name], undefined>>
    : RequiredField<Frame[Name]>;
};

export type AnyFields = Readonly<Record<string, { readonly isRequired: boolean; readonly check: AnyCheck }>>;

export function required<Value>(check: Check<Value>): RequiredField<Value> {
  return { isRequired: true, check };
}

export function optional<Value>(check: Check<Value>): OptionalField<Value> {
  return { isRequired: false, check };
}

export function objectSchema(fields: AnyFields): JsonSchema {
  const names = Object.keys(fields).filter((name) => fields[name]?.isRequired);
  return {
    type: 'object',
    ...(names.length > 0 && { required: names }),
    properties: Object.fromEntries(Object.entries(fields).map(([name, { check }]) => [name, check.schema])),
  };
}

export function literal<const Value extends string | number | boolean>(expected: Value): Check<Value> {
  return {
    test: (value): value is Value => value === expected,
    schema: { const: expected },
    problem: `must be ${JSON.stringify(expected)}`,
  };
}

export function oneOf<const Value extends string>(...expected: readonly Value[]): Check<Value> {
  return {
    test: (value): value is Value => (expected as readonly unknown[]).includes(value),
    schema: { enum: expected },
    problem: `must be one of ${expected.join(', ')}`,
  };
}

export function arrayOf<Item>(item: Check<Item>): Check<Item[]> {
  return {
    test: (value): value is Item[] => Array.isArray(value) && value.every(item.test),
    schema: { type: 'array', items: item.schema },
    problem: 'must be an array',
  };
}

/** An object with these fields, and with whatever others. */
export function object<Value extends object>(fields: Fields<Value>): Check<Value> {
  const entries = Object.entries(fields as AnyFields);
  return {
    test: (value): value is Value =>
      isObject(value) &&
      entries.every(([name, { isRequired, check }]) =>
        value[name] === undefined ? !isRequired : check.test(value[name]),
      ),
    schema: objectSchema(fields),
    problem: 'must be an object',
    fields,
  };
}

/** An object whose fields are passed on unchecked. The type says what they are expected to be. */
export function anyObject<Value extends object>(): Check<Value> {
  return { test: (value): value is Value => isObject(value), schema: { type: 'object' }, problem: 'must be an object' };
}

export const anything: Check<unknown> = { test: (value): value is unknown => true, schema: {}, problem: '' };

export const nothing: Check<never> = {
  test: (value): value is never => false,
  schema: { not: {} },
  problem: 'must be absent',
};

export const string: Check<string> = {
  test: (value) => typeof value === 'string',
  schema: { type: 'string' },
  problem: 'must be a string',
};

export const boolean: Check<boolean> = {
  test: (value) => typeof value === 'boolean',
  schema: { type: 'boolean' },
  problem: 'must be a boolean',
};

/** A text that its user checks, and ignores if it is invalid. It never makes the frame invalid. */
export const lenient = (description: string): Check<string> => ({
  test: (value): value is string => value !== undefined,
  schema: { description },
  problem: '',
  isLenient: true,
});

export const integer: Check<number> = {
  test: (value): value is number => Number.isInteger(value),
  schema: { type: 'integer' },
  problem: 'must be an integer',
};

/** A count of frames. The session checks whether it is possible, and answers with a reason if it is not. */
export const count: Check<number> = {
  test: (value) => typeof value === 'number',
  schema: { type: 'number' },
  problem: 'must be a number',
};

/** Whether a text has 1 to 256 characters. Characters are code points of one or two UTF-16 units. */
function isShort(text: string): boolean {
  const { length } = text;
  return length > 0 && (length <= 256 || (length <= 512 && [...text].length <= 256));
}

const SHORT = { type: 'string', minLength: 1, maxLength: 256 };

/** An agent id, a context id, a trace id, or the secret of a session. */
export const name: Check<string> = {
  test: (value): value is string => typeof value === 'string' && isShort(value),
  schema: SHORT,
  problem: 'must be a string of 1 to 256 characters',
};

export const id: Check<FrameId> = {
  test: (value): value is FrameId => (typeof value === 'string' ? isShort(value) : Number.isSafeInteger(value)),
  schema: {
    anyOf: [SHORT, { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }],
    description: "The client's own name for what it asks.",
  },
  problem: 'must be a string of 1 to 256 characters or a safe integer',
};

const messageFields = {
  role: required(string),
  parts: required<unknown[]>({ ...arrayOf(anything), test: (value) => Array.isArray(value) }),
};

/** Parts, and fields of the agent's own, are passed on unchecked. The test is written by hand, because every message takes it. */
export const message: Check<ArcMessage> = {
  test: (value): value is ArcMessage => isObject(value) && typeof value.role === 'string' && Array.isArray(value.parts),
  schema: objectSchema(messageFields),
  problem: 'must be an object',
  fields: messageFields,
};
