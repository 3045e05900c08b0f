/**
 * The `path` option of an adapter, without a slash at its end: `/ws/` is the same path as `/ws`.
 * @throws TypeError if it does not start with /
 */
export function readPath(path: unknown = '/ws'): string {
  if (typeof path !== 'string' || !path.startsWith('/')) throw new TypeError('path: must start with /');
  return path.length > 1 ? path.replace(/\/$/, '') : path;
}

/** What a path of a request is compared as: without case, query and escapes, and without a slash at its end. */
function normalize(path: string): string {
  const plain = path.toLowerCase().replace(/(?!^)\/$/, '');
  try {
    return decodeURIComponent(plain);
  } catch {
    return plain;
  }
}

/**
 * Whether the URL of a request has one of these paths. A segment such as `:tenant` stands for any other. Of patterns
 * beyond that, only the constant beginning is compared, so they may match too much, but never too little.
 */
export function isPathOf(url: string | undefined, patterns: readonly string[]): boolean {
  // The target may be in the absolute form (RFC 9112, 3.2.2).
  const target = (url ?? '').replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '');
  const path = normalize(target.split(/[?#]/, 1)[0] ?? '');
  return patterns.some((pattern) => {
    const segments = pattern.replace(/(?!^)\/$/, '').split('/');
    const [constant = ''] = pattern.toLowerCase().split(/.[?*+]|[*:(){}[\]\\]/, 1);
    if (constant.length === pattern.length) return path === normalize(pattern);
    const isSimple = segments.every((segment) => /^(:\w+|[^*:(){}[\]\\?+]*)$/.test(segment));
    if (!isSimple) return path.startsWith(constant);
    const asked = path.split('/');
    return (
      asked.length === segments.length &&
      segments.every((segment, index) => segment.startsWith(':') || segment.toLowerCase() === asked[index])
    );
  });
}
