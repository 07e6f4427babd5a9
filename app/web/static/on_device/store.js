/* The files for identification on this device, in a cache that the service worker also reads.
 *
 * One entry of the cache, the manifest, says that the others are complete: an update replaces it last.
 * Usable in a page and in a worker. */

const ROOT = new URL("../..", import.meta.url).href;
const CACHE = `petalscope ${ROOT} on-device`; // the same name in templates/service-worker.js
const PARTS = `${CACHE} parts`;
const MANIFEST = new URL("on-device/installed", ROOT).href;

export const SERVICE_WORKER = new URL("service-worker.js", ROOT).href;

export const openCache = () => caches.open(CACHE);

/* Open the cache of unfinished downloads. */
export const openParts = () => caches.open(PARTS);

export const deleteParts = () => caches.delete(PARTS);

/* Return the response to an address; undefined if there is none. Never creates the cache. */
export const find = (url) => caches.match(url, { cacheName: CACHE, ignoreVary: true });

export const filesOf = (manifest) => Object.values(manifest?.files ?? {});

/* Return the manifest of the complete installation; null without one, or if the browser has deleted
 * a file of it. */
export async function installed() {
  const manifest = await (await find(MANIFEST))?.json();
  if (!manifest) return null;
  const found = await Promise.all(filesOf(manifest).map(({ url }) => find(url)));
  return found.every(Boolean) ? manifest : null;
}

/* Store a manifest, which makes its files the ones in use. */
export async function commit(cache, manifest) {
  await cache.put(MANIFEST, new Response(JSON.stringify(manifest)));
}

/* Delete the installation, but no unfinished download. */
export const deleteCache = () => caches.delete(CACHE);
