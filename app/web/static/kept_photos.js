/* Photos and results kept on this device, in IndexedDB, if the visitor wants it; and their removal.
 *
 * Off by default. Turning it off deletes what is kept. A record has the fields in KEPT of an entry, the
 * key of the entry of the whole photo, and whether the entry is several photos combined. */

import { announce, dispatch, events, focusPanel, show } from "./display.js";
import { drawList, insertEntry, isPending, removeEntries, state } from "./entries.js";
import { isKeeping, NAME } from "./keeping.js";
import { texts } from "./messages.js";
import { notify } from "./notice.js";
import { newEntry } from "./queue.js";

const VERSION = 1; // raise it when the fields change; older records are deleted
const STORE = "photos";
const KEPT = ["label", "photos", "thumbnail", "result", "square"];

const list = document.querySelector(".entries");
const section = list.querySelector(".keeping");
const offer = document.querySelector(".menu .keep-photos"); // while the list is hidden
const most = Number(section.dataset.most);
const keep = section.querySelector("input");
const note = section.querySelector(".note");
const removeButton = section.querySelector(".remove");
const removeAllButton = section.querySelector(".remove-all");
const explanation = note.textContent;

/* Show a message beside the switch in place of its description, or as a notice while the list is
 * hidden, and announce it. */
function say(key) {
  if (list.hidden) {
    notify(key);
    return;
  }
  note.textContent = texts[key];
  note.classList.remove("unseen");
  announce(texts[key]);
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

const deleteRecord = (key) => transact("readwrite", (store) => store.delete(key));

/* Delete the oldest records above the limit. */
async function prune() {
  const keys = await transact("readonly", (store) => store.getAllKeys());
  const old = keys.slice(0, Math.max(0, keys.length - most));
  for (const key of old) await deleteRecord(key);
  for (const entry of state.entries) {
    if (old.includes(entry.key)) delete entry.key;
  }
}

/* -- Keeping ----------------------------------------------------------------- */

let saving = Promise.resolve(); // changes are stored one after another

function enqueue(change) {
  saving = saving.then(change).catch(({ name }) => {
    say(name === "QuotaExceededError" ? "keep_full" : "keep_failed");
  });
  return saving;
}

async function save(entry) {
  if (!state.keeps || !state.entries.includes(entry)) return;
  entry.key = await transact("readwrite", (store) => store.put(recordOf(entry)));
  await prune();
  dispatch("kept", entry);
}

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
    say("keep_blocked");
    return;
  }
  keep.checked = state.keeps = true;
  drawList();
  draw();
  for (const entry of state.entries) {
    if (entry.result) await save(entry);
  }
}

async function stop() {
  localStorage.removeItem(NAME);
  await leave();
}

/* Keep no more photos, and delete those that are kept unless another tab keeps them again. */
async function leave() {
  const hadFocus = list.contains(document.activeElement);
  keep.checked = state.keeps = false;
  drawList();
  draw();
  if (hadFocus && list.hidden) focusPanel();
  if (!isKeeping()) await transact("readwrite", (store) => store.clear());
  for (const entry of state.entries) delete entry.key;
  dispatch("kept", state.shown); // no more
  say("keep_off");
}

keep.addEventListener("change", () => enqueue(keep.checked ? start : stop));
offer.addEventListener("click", async () => {
  offer.closest("details").open = false;
  await enqueue(start);
  if (state.keeps) keep.focus();
});

// Another tab has turned keeping on or off, or the visitor has deleted the site's data.
window.addEventListener("storage", ({ key }) => {
  if (key !== null && key !== NAME) return;
  if (isKeeping() !== state.keeps) enqueue(isKeeping() ? start : leave);
});

/* -- Removal ----------------------------------------------------------------- */

events.addEventListener("show", draw);
events.addEventListener("change", draw);

function draw() {
  const { entries, shown } = state;
  removeButton.hidden = !shown || isPending(shown);
  removeAllButton.hidden = entries.length === 0 || entries.some(isPending);
  offer.hidden = !list.hidden;
}

/* Remove entries from the list; `forget` deletes their records, after those that are being stored. */
function remove(entries, forget) {
  // A combined entry still shows the photo, whose URL is revoked.
  const copyRemoved = (part) =>
    entries.includes(part) ? { ...part, url: URL.createObjectURL(part.photos[0]) } : part;
  for (const entry of state.entries) {
    if (!entries.includes(entry)) entry.parts = entry.parts?.map(copyRemoved);
  }
  removeEntries(entries);
  if (state.keeps) enqueue(forget);
  announce(texts.removed);
}

removeButton.addEventListener("click", () => {
  const { entries, shown } = state;
  const at = entries.indexOf(shown);
  const next = entries[at + 1] ?? entries[at - 1] ?? null;
  remove([shown], async () => {
    if (shown.key !== undefined) await deleteRecord(shown.key);
  });
  show(next);
  focusPanel();
});
removeAllButton.addEventListener("click", () => {
  if (!window.confirm(texts.remove_all)) return;
  // Other tabs may have stored more.
  remove(state.entries, () => transact("readwrite", (store) => store.clear()));
  show(null);
  focusPanel();
});

/* -- Start --------------------------------------------------------------------- */

if (isKeeping()) {
  keep.checked = state.keeps = true;
  enqueue(restore).then(draw);
}
