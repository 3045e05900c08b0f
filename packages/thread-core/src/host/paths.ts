/**
 * The `path` option of an adapter, without a slash at its end: `/ws/` is the same path as `/ws`.
 * @throws TypeError if it does not start with /
 */
export function readPath(path: unknown = '/ws'): string {
  if (typeof path !== 'string' || !path.startsWith('/')) throw new TypeError('path: must start with /');
  return path.length > 1 ? path.replace(/\/$/, '') : path;
}

/** What a path of a request is compared as: without case, and without a slash at its end. */
function plainOf(path: string): string {
  return path.toLowerCase().replace(/(?!^)\/$/, '');
}

/** And without escapes. */
function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/**
 * Whether the URL of a request has one of these paths. A segment such as `:tenant` stands for any other. Of patterns
 * beyond that, only the constant beginning is compared, so they may match too much, but never too little.
 */
export function isPathOf(url: string | undefined, patterns: readonly string[]): boolean {
  // The target may be in the absolute form (RFC 9112, 3.2.2).
  const target = (url ?? '').replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '');
  const plain = plainOf(target.split(/[?#]/, 1)[0] ?? '');
  const path = decode(plain);
  return patterns.some((pattern) => {
    const segments = pattern.replace(/(?!^)\/$/, '').split('/');
    const [constant = ''] = pattern.toLowerCase().split(/.[?*+]|[*:(){}[\]\\]/, 1);
    if (constant.length === pattern.length) return path === decode(plainOf(pattern));
    const isSimple = segments.every((segment) => /^(:\w+|[^*:(){}[\]\\?+]*)$/.test(segment));
    if (!isSimple) return path.startsWith(constant);
    // An escaped slash is part of its segment.
    const asked = plain.split('/').map(decode);
    return (
      asked.length === segments.length &&
      segments.every((segment, index) => segment.startsWith(':') || segment.toLowerCase() === asked[index])
    );
  });
}
