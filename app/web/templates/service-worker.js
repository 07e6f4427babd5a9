/* The page that tells that the service is out of reach, kept in the browser for when it is.
 *
 *     an address to go to -> the network -> offline.html, where the network fails
 *
 * Nothing else is kept, and what is kept is shown only then: a page, an answer or a photo never
 * comes from here. Another version of what is kept has another name, and takes the old one's place. */

const SCOPE = `petalscope ${self.registration.scope} `;
const KEPT = `${SCOPE}{{ version }}`;
const OFFLINE = {{ offline | tojson }};
const SHELL = {{ shell | tojson }};

async function keep() {
  const cache = await caches.open(KEPT);
  // From the service and not from the browser's own cache, which may hold older ones.
  await cache.addAll([OFFLINE, ...SHELL].map((path) => new Request(path, { cache: "reload" })));
  await self.skipWaiting();
}

async function dropOthers() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(SCOPE) && name !== KEPT);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function orKept(request, path) {
  try {
    return await fetch(request);
  } catch (error) {
    const cache = await caches.open(KEPT);
    const found = await cache.match(path, { ignoreVary: true });
    if (!found) throw error;
    return found;
  }
}

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(dropOthers()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const { origin, pathname } = new URL(request.url);
  if (request.mode === "navigate") event.respondWith(orKept(request, OFFLINE));
  else if (origin === self.location.origin && SHELL.includes(pathname)) {
    event.respondWith(orKept(request, pathname));
  }
});
