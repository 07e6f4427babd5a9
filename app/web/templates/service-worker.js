/* Service worker that shows an offline page when the service cannot be reached.
 *
 * It caches the offline page and its assets, and uses them only if the network fails. Results and
 * photos are never cached. The cache name contains a content hash; old caches are deleted. */

const SCOPE = `petalscope ${self.registration.scope} `;
const CACHE = `${SCOPE}{{ version }}`;
const OFFLINE = {{ offline | tojson }};
const ASSETS = {{ assets | tojson }};

async function fillCache() {
  const cache = await caches.open(CACHE);
  // Bypass the HTTP cache, which may hold older versions.
  await cache.addAll([OFFLINE, ...ASSETS].map((path) => new Request(path, { cache: "reload" })));
  await self.skipWaiting();
}

async function deleteOldCaches() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(SCOPE) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function fetchOrCached(request, path) {
  try {
    return await fetch(request);
  } catch (error) {
    const cache = await caches.open(CACHE);
    const found = await cache.match(path, { ignoreVary: true });
    if (!found) throw error;
    return found;
  }
}

self.addEventListener("install", (event) => event.waitUntil(fillCache()));
self.addEventListener("activate", (event) => event.waitUntil(deleteOldCaches()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const { origin, pathname } = new URL(request.url);
  if (request.mode === "navigate") event.respondWith(fetchOrCached(request, OFFLINE));
  else if (origin === self.location.origin && ASSETS.includes(pathname)) {
    event.respondWith(fetchOrCached(request, pathname));
  }
});
