/* Installation, update and removal of what the page needs to identify photos on this device. */

import { download } from "./download.js";
import {
  commit,
  deleteCache,
  deleteParts,
  filesOf,
  find,
  installed,
  openCache,
  openParts,
  SERVICE_WORKER,
} from "./store.js";

/* Return the manifest that the service has now. Throws if it cannot be reached. */
export async function latest(url, signal) {
  const response = await fetch(url, { cache: "no-cache", signal });
  if (!response.ok) throw new TypeError(String(response.status));
  return response.json();
}

/* Return the files of a manifest that are not on this device. */
export async function missingFiles(manifest) {
  const files = filesOf(manifest);
  const found = await Promise.all(files.map(({ url }) => find(url)));
  return files.filter((_, index) => !found[index]);
}

export const bytesOf = (files) => files.reduce((sum, { bytes }) => sum + bytes, 0);

/* Store a page or static file. */
async function keep(cache, url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new TypeError(String(response.status));
  await cache.put(url, response);
}

const AS_PAGE = { headers: { Accept: "text/html" }, cache: "no-cache" };

/* Store the pages, scripts and styles that open without a network, and the pictures on this page. */
async function keepPages(cache, { pages, static: files, translations }, signal) {
  const shown = [...document.images].map(({ currentSrc }) => currentSrc);
  const pictures = shown.filter((url) => url.startsWith(location.origin));
  await Promise.all([
    ...pages.map((url) => keep(cache, url, { ...AS_PAGE, signal })),
    ...files.map((url) => keep(cache, url, { cache: "no-cache", signal })),
  ]);
  await Promise.allSettled([
    // Without cookies, because the response would set one for its language.
    ...translations.map((url) => keep(cache, url, { ...AS_PAGE, credentials: "omit", signal })),
    ...pictures.map((url) => keep(cache, url, { signal })),
  ]);
}

/* Store the pages and static files of a newer service; the model stays the same. */
export async function refreshPages(current, newest) {
  const cache = await openCache();
  await keepPages(cache, newest);
  await commit(cache, { ...current, scripts: newest.scripts });
}

export async function uninstall() {
  await deleteCache();
  await deleteParts();
}

/* Download what is missing, then put it to use in one step; resolve to the manifest.
 *
 * `onProgress` gets the received bytes and their total. Throws as `download` does. */
export async function install(manifestUrl, { signal, onProgress }) {
  const manifest = await latest(manifestUrl, signal);
  const previous = await installed();
  await navigator.serviceWorker.register(SERVICE_WORKER);
  const missing = await missingFiles(manifest);
  const total = bytesOf(missing);
  const parts = await openParts();
  const blobs = [];
  for (const file of missing) {
    const before = bytesOf(missing.slice(0, blobs.length));
    const report = (bytes) => onProgress(before + Math.min(bytes, file.bytes), total);
    blobs.push(await download(parts, file, { signal, onProgress: report }));
  }
  const cache = await openCache();
  try {
    for (const [index, { url }] of missing.entries()) await cache.put(url, new Response(blobs[index]));
    await keepPages(cache, manifest, signal);
    await commit(cache, manifest);
  } catch (error) {
    if (!previous) await deleteCache();
    throw error;
  }
  await deleteParts();
  const used = new Set(filesOf(manifest).map(({ url }) => url));
  for (const { url } of filesOf(previous)) if (!used.has(url)) await cache.delete(url);
  // The worker serves this page too, though it was opened before.
  (await navigator.serviceWorker.ready).active.postMessage("claim");
  return manifest;
}
