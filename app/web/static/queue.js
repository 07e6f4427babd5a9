/* The queue that classifies entries one at a time. */

import { addHeatMaps, announce, drawProgress, photoMount, refresh, show } from "./display.js";
import { addEntries, drawList, isPending, removeEntries, state } from "./entries.js";
import { copy, decimal, format, texts } from "./messages.js";
import { prepare } from "./photo.js";
import { summaryOf } from "./result.js";
import { problemOf, upload } from "./upload.js";

const main = document.querySelector("main");
const { combine: combineUrl, formats, predict: predictUrl } = main.dataset;
const maxBodyMib = Number(main.dataset.maxBodyMib);

export const newEntry = (values) => ({
  tile: copy("tile"),
  mount: null,
  phase: texts.sending,
  share: null,
  ...values,
});

/* Classify files. They replace a pending entry on display. */
export function classifyFiles(files) {
  if (files.length === 0) return;
  const labelOf = ({ name }) => name.replace(/\.\w+$/, "");
  classifyEntries([...files].map((file) => newEntry({ file, label: labelOf(file) })));
}

export function classifyEntries(entries) {
  state.selected = null;
  if (isPending(state.shown)) stop();
  else state.previous = state.shown;
  // Failed entries stay in the list only until the next choice.
  removeEntries(state.entries.filter(({ problem }) => problem));
  entries[0].showFirst = true;
  addEntries(entries);
  if (!state.controller) run();
  else drawList();
}

function retry() {
  const entry = state.shown;
  entry.problem = null;
  entry.showFirst = true;
  state.waiting.push(entry);
  if (!state.controller) run();
  else show(entry);
}

function cancel() {
  const wasPending = isPending(state.shown);
  stop();
  announce(texts.cancelled);
  if (wasPending) show(state.entries.includes(state.previous) ? state.previous : null);
  else drawList();
}

main.addEventListener("click", ({ target }) => {
  if (target.closest(".cancel")) cancel();
  else if (target.closest(".retry")) retry();
});

/* Abort the current entry and drop the waiting ones. */
function stop() {
  state.controller?.abort();
  state.controller = null;
  removeEntries(state.entries.filter(isPending));
}

/* Classify the waiting entries in turn. The first of each choice is displayed. */
async function run() {
  state.controller = new AbortController();
  const { signal } = state.controller;
  while (state.waiting.length > 0) {
    const entry = state.waiting.shift();
    if (entry.showFirst) {
      show(entry);
      announce(entry.phase);
      window.scrollTo({ top: 0 });
    }
    await classify(entry, signal);
    if (signal.aborted) return;
    if (state.waiting.length === 0) state.controller = null;
    refresh(entry);
    if (entry === state.shown) announce(entry.result ? summaryOf(entry.result) : "");
    else if (!state.controller) announce(texts.done);
  }
}

/* Classify one entry; set its `result` or `problem` unless aborted. */
async function classify(entry, signal) {
  entry.problem = entry.photos ? null : await prepareEntry(entry, signal);
  if (signal.aborted) return;
  entry.problem ??= sizeProblem(entry);
  if (entry.problem) return;
  const { parts, photos } = entry;
  const [sending, looking] = parts
    ? [texts.sending_combined, texts.looking_combined]
    : [texts.sending, texts.looking];
  Object.assign(entry, { phase: sending, share: null });
  refresh(entry);
  const response = await upload(photos, parts ? combineUrl : predictUrl, signal, (share) => {
    const phase = share === null ? looking : sending;
    if (phase !== entry.phase && entry === state.shown) announce(phase);
    Object.assign(entry, { phase, share });
    if (entry === state.shown) drawProgress(entry);
  });
  if (response.status === 200 && response.body?.predictions) {
    entry.result = response.body;
    if (entry.mount) addHeatMaps(entry.mount, entry.result);
  } else entry.problem = problemOf(response);
}

/* Set the photo and thumbnail of an entry from its file; return a problem or null. */
async function prepareEntry(entry, signal) {
  let prepared;
  try {
    prepared = await prepare(entry.file, "heif" in main.dataset);
  } catch {
    return { title: texts.unreadable, detail: texts.unreadable_detail };
  }
  const { photo, thumbnail, rejected } = prepared;
  if (rejected) {
    const key = rejected === "heic" ? "heic_detail" : "no_photo_detail";
    const detail = format(key, { kind: texts[rejected], formats, mib: maxBodyMib });
    return { title: texts.no_photo, detail };
  }
  if (signal.aborted) return null;
  Object.assign(entry, { photos: [photo], thumbnail, url: URL.createObjectURL(photo) });
  entry.mount = photoMount(entry);
  return null;
}

/* Return a problem if the photos exceed the upload limit, else null.
 *
 * The server may close the connection mid-upload, and the browser would then report no reason. */
function sizeProblem({ parts, photos }) {
  const mib = photos.reduce((sum, { size }) => sum + size, 0) / 2 ** 20;
  if (mib <= maxBodyMib) return null;
  const key = parts ? "large_combined" : "large";
  const detail = format(`${key}_detail`, { size: decimal(mib), mib: maxBodyMib });
  return { title: texts[key], detail };
}
