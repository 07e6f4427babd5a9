/* Service worker that shows an offline page when the service cannot be reached, and passes photos that
 * another app shares to the start page.
 *
 * It caches the offline page and its assets, and uses them only if the network fails. Results and
 * photos are never cached. The cache name contains a content hash; old caches are deleted.
{%- if on_device() %}
 * If the visitor identifies photos on this device, it also caches the pages and pictures they see.
{%- endif %} */

const SCOPE = `petalscope ${self.registration.scope} `;
const CACHE = `${SCOPE}{{ version }}`;
const OFFLINE = {{ offline | tojson }};
const ASSETS = {{ assets | tojson }};
const SHARE = {{ share | tojson }};
const START = {{ start | tojson }};
{%- if on_device() %}
const KEPT = `${SCOPE}on-device`;{#- the same name in static/on_device/store.js #}
const STATIC = {{ url_for("static", filename="") | tojson }};
const PICTURES = {{ url_for("pictures.picture", file="") | tojson }};
const FILES = {{ url_for("on_device.download", file="") | tojson }};
const SLOW_MS = 3000;
{%- endif %}
const TAKING_MS = 30_000; // longer than the start page needs to load

async function fillCache() {
  const cache = await caches.open(CACHE);
  // Bypass the HTTP cache, which may hold older versions.
  await cache.addAll([OFFLINE, ...ASSETS].map((path) => new Request(path, { cache: "reload" })));
  await self.skipWaiting();
}

async function deleteOldCaches() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(SCOPE) && name !== CACHE
{%- if on_device() %} && !name.startsWith(KEPT){% endif %});
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function fetchOrCached(event, path) {
  try {
    return await {% if on_device() %}fetchOrKept(event){% else %}fetch(event.request){% endif %};
  } catch (error) {
    const cache = await caches.open(CACHE);
    const found = await cache.match(path, { ignoreVary: true });
    if (!found) throw error;
    return found;
  }
}

{% if on_device() -%}
{#- Jinja's comments, because most visitors download this part for nothing. #}
{#- Return the kept response to a request; a page also without its query. #}
async function findKept({ mode, url }) {
  const options = { cacheName: KEPT, ignoreVary: true };
  const found = await caches.match(url, options);
  return found ?? (mode === "navigate" ? caches.match(url.split("?")[0], options) : undefined);
}

{#- Keep a response, unless it answers a search or the visitor has removed the files meanwhile. #}
async function keep({ mode, url }, response) {
  const names = [...new URL(url).searchParams.keys()];
  if (mode === "navigate" && names.some((name) => name !== "{{ language_parameter }}")) return;
  if (response.status === 200 && (await caches.has(KEPT))) {
    await (await caches.open(KEPT)).put(url, response);
  }
}

{#- Respond from the network, or with what is kept if the network fails or is slow. #}
async function fetchOrKept(event) {
  const { request } = event;
  if (!(await caches.has(KEPT))) return fetch(request);
  const kept = await findKept(request);
  if (kept && new URL(request.url).pathname.startsWith(FILES)) return kept; {#- never stale #}
  const fetching = fetch(request);
  {#- Without a catch, a full storage would be an unhandled error. #}
  const keeping = fetching.then((response) => keep(request, response.clone())).catch(() => {});
  event.waitUntil(keeping);
  if (!kept) return fetching;
  const answered = fetching.then((response) => (response.status < 500 ? response : kept));
  const slow = new Promise((resolve) => {
    setTimeout(resolve, SLOW_MS, kept);
  });
  return Promise.race([answered.catch(() => kept), slow]);
}

function isKept({ destination, url }) {
  const { pathname } = new URL(url);
  if (pathname.startsWith(FILES)) return destination === "script";{#- the page reads the others itself #}
  return pathname.startsWith(STATIC) || pathname.startsWith(PICTURES);
}

{% endif -%}
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

self.addEventListener("message", (event) => {
  const { data, source } = event;
{%- if on_device() %}
  if (data === "claim") event.waitUntil(self.clients.claim());{#- pages that were opened before #}
{%- endif %}
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
  if (request.mode === "navigate") event.respondWith(fetchOrCached(event, OFFLINE));
  else if (origin !== self.location.origin || !request.destination) return;
  else if (ASSETS.includes(pathname)) event.respondWith(fetchOrCached(event, pathname));
{%- if on_device() %}
  else if (isKept(request)) event.respondWith(fetchOrKept(event));
{%- endif %}
});
