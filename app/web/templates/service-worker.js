/* Service worker that shows an offline page when the service cannot be reached, and passes photos that
 * another app shares to the start page.
 *
 * It caches the offline page and its assets, and uses them only if the network fails. Results and
 * photos are never cached. The cache name contains a content hash; old caches are deleted. */

const SCOPE = `petalscope ${self.registration.scope} `;
const CACHE = `${SCOPE}{{ version }}`;
const OFFLINE = {{ offline | tojson }};
const ASSETS = {{ assets | tojson }};
const SHARE = {{ share | tojson }};
const START = {{ start | tojson }};
const TAKING_MS = 30_000; // longer than the start page needs to load

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

/* -- Shared photos ---------------------------------------------------------- */

let shared = []; // in memory until the start page takes them
let taken = () => {};

async function receiveShared(request) {
  const form = await request.formData().catch(() => new FormData());
  shared = form.getAll("{{ photo_field }}");
  return Response.redirect(`${START}?shared`, 303);
}

/* Keep the worker running while it holds photos. */
const untilTaken = () =>
  new Promise((resolve) => {
    taken = resolve;
    setTimeout(resolve, TAKING_MS);
  });

self.addEventListener("message", ({ data, source }) => {
  if (data !== "take-shared") return;
  source.postMessage({ shared: shared.splice(0) });
  taken();
});

/* -- Events ------------------------------------------------------------------ */

self.addEventListener("install", (event) => event.waitUntil(fillCache()));
self.addEventListener("activate", (event) => event.waitUntil(deleteOldCaches()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method === "POST" && request.mode === "navigate" && pathname === SHARE) {
    event.respondWith(receiveShared(request));
    event.waitUntil(untilTaken());
  }
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(fetchOrCached(request, OFFLINE));
  else if (origin === self.location.origin && ASSETS.includes(pathname)) {
    event.respondWith(fetchOrCached(request, pathname));
  }
});
