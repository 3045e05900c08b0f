// Module hooks: see register-shared.mjs.
const tapOfFile = new URL('tap-of-file.mjs', import.meta.url).href;

export function resolve(specifier, context, nextResolve) {
  if (specifier !== 'tap' || !/\.test\.tsx?$/.test(context.parentURL ?? '')) return nextResolve(specifier, context);
  // The query makes it another module for each file.
  return { url: `${tapOfFile}?for=${encodeURIComponent(context.parentURL)}`, format: 'module', shortCircuit: true };
}
