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

/* Return the whole response to a page or static file as [url, response]. */
async function whole(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new TypeError(String(response.status));
  await response.clone().arrayBuffer();
  return [url, response];
}

const AS_PAGE = { headers: { Accept: "text/html" }, cache: "no-cache" };

/* Store the pages, scripts and styles that open without a network, and the pictures on this page.
 *
 * Stores nothing if a script is missing: those of two versions would not fit together. */
async function keepPages(cache, { pages, static: files, translations }, signal) {
  const shown = [...document.images].map(({ currentSrc }) => currentSrc);
  const pictures = shown.filter((url) => url.startsWith(location.origin));
  const required = await Promise.all([
    ...pages.map((url) => whole(url, { ...AS_PAGE, signal })),
    ...files.map((url) => whole(url, { cache: "no-cache", signal })),
  ]);
  const others = await Promise.allSettled([
    // Without cookies, because the response would set one for its language.
    ...translations.map((url) => whole(url, { ...AS_PAGE, credentials: "omit", signal })),
    ...pictures.map((url) => whole(url, { signal })),
  ]);
  const found = others.filter(({ value }) => value).map(({ value }) => value);
  await Promise.all([...required, ...found].map((entry) => cache.put(...entry)));
}

/* Store the pages and static files of a newer service; the model stays the same.
 *
 * Modules that load later must be of the same version as this one. Resolve to the installed manifest;
 * to null without one. */
export async function refreshPages(newest) {
  const manifest = await installed();
  if (!manifest || manifest.scripts === newest.scripts) return manifest;
  const refreshed = { ...manifest, scripts: newest.scripts };
  const cache = await openCache();
  await keepPages(cache, newest);
  await commit(cache, refreshed);
  return refreshed;
}

/* Install the service worker if it is missing; resolve to its registration once it is active. */
async function registerWorker() {
  const registration = await navigator.serviceWorker.register(SERVICE_WORKER);
  const { active, installing, waiting } = registration;
  const worker = active ?? waiting ?? installing;
  await new Promise((resolve, reject) => {
    const check = () => {
      if (worker.state === "activated") resolve();
      // A file of its own did not arrive.
      if (worker.state === "redundant") reject(new TypeError("redundant"));
    };
    worker.addEventListener("statechange", check);
    check();
  });
  return registration;
}

export async function uninstall() {
  await deleteCache();
  await deleteParts();
}

/* Download what is missing, then put it to use in one step.
 *
 * `onProgress` gets the received bytes and their total. Throws as `download` does. */
export async function install(manifestUrl, options) {
  try {
    await installFiles(await latest(manifestUrl, options.signal), options);
  } catch (error) {
    if (error.name === "QuotaExceededError") await deleteParts(); // nothing can continue them
    throw error;
  }
}

async function installFiles(manifest, { signal, onProgress }) {
  const previous = await installed();
  const missing = await missingFiles(manifest);
  const total = bytesOf(missing);
  const parts = await openParts();
  const blobs = [];
  for (const file of missing) {
    const before = bytesOf(missing.slice(0, blobs.length));
    const report = (bytes) => onProgress(before + Math.min(bytes, file.bytes), total);
    blobs.push(await download(parts, file, { signal, onProgress: report }));
  }
  const registration = await registerWorker();
  signal.throwIfAborted();
  const cache = await openCache();
  try {
    for (const [index, { url }] of missing.entries()) await cache.put(url, new Response(blobs[index]));
    await keepPages(cache, manifest, signal);
    signal.throwIfAborted();
    await commit(cache, manifest);
  } catch (error) {
    if (!(await installed())) await deleteCache();
    throw error;
  }
  await deleteParts();
  const used = new Set(filesOf(manifest).map(({ url }) => url));
  for (const { url } of filesOf(previous)) if (!used.has(url)) await cache.delete(url);
  // The worker serves this page too, though it was opened before.
  registration.active?.postMessage("claim");
}
