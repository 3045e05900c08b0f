// Changes one place of one file as it is loaded, so that a test can show that it notices.
const { file, find, replace } = JSON.parse(process.env.BREAKAGE);

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  if (!url.endsWith(file)) return loaded;
  const parts = String(loaded.source).split(find);
  if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} places that read: ${find}`);
  return { ...loaded, source: parts.join(replace) };
}
