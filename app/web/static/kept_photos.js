/* Photos and results kept on this device, in IndexedDB, if the visitor wants it; and their removal.
 *
 * Off by default. Turning it off deletes what is kept. A record has the fields in KEPT of an entry, the
 * key of the entry of the whole photo, and whether the entry is several photos combined. */

import { announce, dispatch, events, focusPanel, show } from "./display.js";
import { drawList, insertEntry, isPending, removeEntries, state } from "./entries.js";
import { texts } from "./messages.js";
import { newEntry } from "./queue.js";

const VERSION = 1; // raise it when the fields change; older records are deleted
const STORE = "photos";
const KEPT = ["label", "photos", "thumbnail", "result", "square"];

// Services at other paths of this host have databases of their own.
const NAME = `petalscope ${new URL("..", import.meta.url).pathname}`;

const section = document.querySelector(".keeping");
const most = Number(section.dataset.most);
const keep = section.querySelector("input");
const note = section.querySelector(".note");
const removeButton = section.querySelector(".remove");
const removeAllButton = section.querySelector(".remove-all");
const explanation = note.textContent;

/* Show a sentence beside the switch in place of its description, and announce it. */
function say(message) {
  note.textContent = message;
  note.classList.remove("unseen");
  announce(message);
}

/* -- Database ---------------------------------------------------------------- */

/* Open the database; reject if the browser has none, as some do in private windows. */
const database = () =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      const db = request.result;
      if (db.objectStoreNames.contains(STORE)) db.deleteObjectStore(STORE);
      db.createObjectStore(STORE, { keyPath: "key", autoIncrement: true });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/* Run a transaction; resolve to the result of the request that `use` makes, once it is stored. */
async function transact(mode, use) {
  const db = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = db.transaction(STORE, mode);
      const request = use(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = () => reject(transaction.error ?? request.error);
    });
  } finally {
    db.close();
  }
}

function recordOf(entry) {
  const fields = KEPT.filter((name) => entry[name] !== undefined);
  return {
    ...Object.fromEntries(fields.map((name) => [name, entry[name]])),
    ...(entry.key && { key: entry.key }),
    wholeKey: entry.whole?.key,
    isCombined: Boolean(entry.parts),
  };
}

/* Delete the oldest records above the limit. */
async function prune() {
  const keys = await transact("readonly", (store) => store.getAllKeys());
  const old = keys.slice(0, Math.max(0, keys.length - most));
  for (const key of old) await transact("readwrite", (store) => store.delete(key));
}

/* -- Keeping ----------------------------------------------------------------- */

let saving = Promise.resolve(); // changes are stored one after another

function enqueue(change) {
  saving = saving.then(change).catch(({ name }) => {
    say(name === "QuotaExceededError" ? texts.keep_full : texts.keep_failed);
  });
  return saving;
}

async function save(entry) {
  if (!state.keeps || !state.entries.includes(entry)) return;
  entry.key = await transact("readwrite", (store) => store.put(recordOf(entry)));
  await prune();
  dispatch("kept", entry);
}

export const isKept = (entry) => state.keeps && entry.key !== undefined;

events.addEventListener("change", ({ detail: entry }) => {
  if (state.keeps && entry.result) enqueue(() => save(entry));
});

function entryOf({ isCombined, wholeKey, ...fields }) {
  const urls = fields.photos.map((photo) => URL.createObjectURL(photo));
  const entry = newEntry({ ...fields, url: urls[0], choice: Symbol("choice") });
  if (isCombined) {
    entry.parts = fields.photos.map((photo, index) => ({ photos: [photo], url: urls[index] }));
    entry.tile.querySelector("button").classList.add("combined");
  }
  return entry;
}

async function restore() {
  const records = await transact("readonly", (store) => store.getAll());
  const byKey = new Map(records.map((record) => [record.key, entryOf(record)]));
  for (const { key, wholeKey } of records) byKey.get(key).whole = byKey.get(wholeKey);
  for (const entry of byKey.values()) insertEntry(entry);
  drawList();
}

async function start() {
  note.textContent = explanation;
  note.classList.add("unseen");
  try {
    await transact("readonly", (store) => store.count());
    localStorage.setItem(NAME, "on");
  } catch {
    keep.checked = false;
    say(texts.keep_blocked);
    return;
  }
  state.keeps = true;
  drawList();
  for (const entry of state.entries) {
    if (entry.result) await save(entry);
  }
}

async function stop() {
  state.keeps = false;
  drawList();
  localStorage.removeItem(NAME);
  await transact("readwrite", (store) => store.clear());
  for (const entry of state.entries) delete entry.key;
  dispatch("kept", state.shown); // no more
  say(texts.keep_off);
}

keep.addEventListener("change", () => enqueue(keep.checked ? start : stop));

/* -- Removal ----------------------------------------------------------------- */

events.addEventListener("show", draw);
events.addEventListener("change", draw);

function draw() {
  const { entries, shown } = state;
  removeButton.hidden = !shown || isPending(shown);
  removeAllButton.hidden = entries.length === 0 || entries.some(isPending);
}

function remove(entries) {
  const keys = entries.map(({ key }) => key).filter(Boolean);
  // A combined entry still shows the photo, whose URL is revoked.
  const copyRemoved = (part) =>
    entries.includes(part) ? { ...part, url: URL.createObjectURL(part.photos[0]) } : part;
  for (const entry of state.entries) {
    if (!entries.includes(entry)) entry.parts = entry.parts?.map(copyRemoved);
  }
  removeEntries(entries);
  if (keys.length > 0) {
    enqueue(async () => {
      for (const key of keys) await transact("readwrite", (store) => store.delete(key));
    });
  }
  announce(texts.removed);
}

removeButton.addEventListener("click", () => {
  const { entries, shown } = state;
  const at = entries.indexOf(shown);
  const next = entries[at + 1] ?? entries[at - 1] ?? null;
  remove([shown]);
  show(next);
  focusPanel();
});
removeAllButton.addEventListener("click", () => {
  if (!window.confirm(texts.remove_all)) return;
  remove(state.entries);
  show(null);
  focusPanel();
});

/* -- Start --------------------------------------------------------------------- */

/* Return true if the visitor has turned keeping on, also before the photos are restored. */
export function isKeeping() {
  try {
    return localStorage.getItem(NAME) !== null;
  } catch {
    return false; // the browser blocks storage
  }
}

if (isKeeping()) {
  keep.checked = state.keeps = true;
  enqueue(restore).then(draw);
}
