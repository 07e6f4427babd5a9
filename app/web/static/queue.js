/* The queue that classifies entries one at a time. */

import { announce, drawProgress, focusPanel, refresh, show } from "./display.js";
import {
  addEntries,
  canRetry,
  drawTile,
  isPending,
  loadControls,
  removeEntries,
  restOf,
  state,
} from "./entries.js";
import { copy, decimal, format, texts } from "./messages.js";
import { dismissNotice } from "./notice.js";
import { isOn } from "./on_device/offer.js";
import { prepare } from "./photo.js";
import { summaryOf } from "./result.js";
import { problemOf, upload } from "./upload.js";

const MAX_TRIES = 5; // automatic ones, if the service is busy
const MAX_WAIT_S = 120; // beyond it, the visitor decides when to try again

const main = document.querySelector("main");
const { combine: combineUrl, formats, predict: predictUrl } = main.dataset;
const maxBodyMib = Number(main.dataset.maxBodyMib);

const WAITING = { phase: texts.waiting, note: "", share: null, isIdle: true };

export const newEntry = (values) => ({ tile: copy("tile"), ...WAITING, ...values });

/* Classify files after those that are pending. */
export function classifyFiles(files) {
  if (files.length === 0) return;
  const labelOf = ({ name }) => name.replace(/\.\w+$/, "");
  classifyEntries([...files].map((file) => newEntry({ file, label: labelOf(file) })));
}

/* Append entries to the queue, and show the first one unless a pending one is on display. */
export function classifyEntries(entries) {
  const choice = Symbol("choice");
  for (const entry of entries) entry.choice = choice;
  dismissNotice();
  state.selected = null;
  // Files that were no photos stay in the list only until the next choice.
  if (!state.entries.some(isPending)) {
    removeEntries(state.entries.filter((entry) => entry.problem && !canRetry(entry)));
  }
  const staysShown = isPending(state.shown);
  if (!staysShown) state.previous = state.shown;
  addEntries(entries);
  loadControls();
  if (!state.running) run();
  if (staysShown) {
    refresh(entries[0]);
    announce(format("added", { count: entries.length }));
    if (document.activeElement === document.body) focusPanel();
  } else showPending(entries[0]);
}

function showPending(entry) {
  show(entry);
  announce(entry.phase);
  window.scrollTo({ top: 0 });
  focusPanel(); // because the button that was pressed may be hidden now
}

/* Classify all entries again that failed for a reason that may have passed. */
function retry() {
  const failed = state.entries.filter(canRetry);
  failed.sort((a, b) => (b === state.shown) - (a === state.shown)); // the one on display first
  for (const entry of failed) Object.assign(entry, WAITING, { problem: null });
  state.waiting.push(...failed);
  showPending(state.shown);
  if (!state.running) run();
}

/* Cancel the entry on display; show the next pending one, else the one shown before. */
function cancel() {
  const { previous, shown, waiting } = state;
  // The running entry precedes the waiting ones, so its index is -1.
  const next = waiting[waiting.indexOf(shown) + 1];
  discard([shown]);
  const { entries } = state;
  const sibling = entries.findLast(({ choice }) => choice === shown.choice);
  show(next ?? sibling ?? (entries.includes(previous) ? previous : null));
  announce(texts.cancelled);
}

function cancelRest() {
  const rest = restOf();
  discard(rest);
  rest.forEach(refresh);
  focusPanel(); // because the button that was pressed is hidden now
  announce(texts.cancelled);
}

function discard(entries) {
  for (const { controller } of entries) controller?.abort();
  removeEntries(entries);
}

main.addEventListener("click", ({ target }) => {
  if (target.closest(".cancel")) cancel();
  else if (target.closest(".cancel-rest")) cancelRest();
  else if (target.closest(".retry")) retry();
});

/* Call a function when Esc is pressed, unless a dialog or another control handles it. */
export function onEscape(call) {
  document.addEventListener("keydown", (event) => {
    const isTaken = event.defaultPrevented || event.isComposing || event.target.closest("dialog");
    if (event.key === "Escape" && !isTaken) call();
  });
}

onEscape(() => {
  if (isPending(state.shown)) cancel();
});

/* Classify the waiting entries in turn. */
async function run() {
  while (state.waiting.length > 0) {
    const entry = state.waiting.shift();
    state.running = entry;
    entry.controller = new AbortController();
    const { signal } = entry.controller;
    await classify(entry, signal);
    if (entry.result) await loadControls(); // so that the result does not move when they appear
    if (signal.aborted) continue;
    if (state.waiting.length === 0) state.running = null;
    refresh(entry);
    if (entry === state.shown) announce(entry.result ? summaryOf(entry.result) : "");
    else if (!state.running) announce(texts.done);
  }
  state.running = null;
}

/* Classify one entry; set its `result` or `problem` unless aborted. */
async function classify(entry, signal) {
  update(entry, { phase: phasesOf(entry).sending, isIdle: false });
  entry.problem = entry.photos ? null : await prepareEntry(entry, signal);
  if (signal.aborted) return;
  entry.problem ??= sizeProblem(entry);
  if (entry.problem) return;
  refresh(entry);
  for (let tries = 1; ; tries += 1) {
    let response = await identifyHere(entry);
    if (signal.aborted) return;
    response ??= await send(entry, signal);
    if (signal.aborted) return;
    if (response.status === 200 && response.body?.predictions?.length) {
      entry.result = response.body;
      return;
    }
    const problem = problemOf(response);
    if (entry.parts && response.status === 0 && isOn()) problem.detail = texts.combine_offline;
    const { retryAfter } = response;
    if (retryAfter === null || retryAfter > MAX_WAIT_S || tries === MAX_TRIES) {
      entry.problem = problem;
      return;
    }
    // A service that is busy for long may ask for one second each time.
    await countDown(entry, problem.title, Math.max(retryAfter, 2 ** (tries - 1)), signal);
    if (signal.aborted) return;
  }
}

const phasesOf = ({ parts }) =>
  parts
    ? { sending: texts.sending_combined, looking: texts.looking_combined }
    : { sending: texts.sending, looking: texts.looking };

/* Identify a photo on this device, if the visitor wants it; resolve to null if the service has to. */
async function identifyHere(entry) {
  if (!isOn() || entry.parts) return null;
  const { identify } = await import("./on_device/identify.js").catch(() => ({}));
  update(entry, { phase: texts.looking, share: null });
  const onWait = (share) => update(entry, { phase: texts.preparing, share });
  return identify?.(entry.photos[0], onWait) ?? null;
}

/* Send the photos of an entry and show the progress; return the response. */
function send(entry, signal) {
  const { sending, looking } = phasesOf(entry);
  update(entry, { phase: sending, note: "", share: null, isIdle: false });
  return upload(entry.photos, entry.parts ? combineUrl : predictUrl, signal, {
    onProgress(share) {
      update(entry, { phase: share === null ? looking : sending, note: "", share });
    },
    onSlow() {
      update(entry, { note: texts.slow });
      if (entry === state.shown) announce(texts.slow);
    },
  });
}

/* Wait as the service asks, and show for how many seconds and why; ends early if aborted. */
function countDown(entry, reason, seconds, signal) {
  const end = Date.now() + seconds * 1000;
  return new Promise((resolve) => {
    const stop = () => {
      clearInterval(timer);
      resolve();
    };
    const tick = () => {
      const left = Math.round((end - Date.now()) / 1000);
      if (left > 0) update(entry, { note: format("retry_in", { seconds: left }) });
      else stop();
    };
    const timer = setInterval(tick, 1000);
    signal.addEventListener("abort", stop);
    update(entry, { phase: reason, share: null, isIdle: true });
    tick();
    // Announced once, since every second would be too often.
    if (entry === state.shown) announce(`${reason}. ${entry.note}`);
  });
}

/* Change the progress of an entry, and draw it. */
function update(entry, progress) {
  const { phase } = entry;
  Object.assign(entry, progress);
  drawTile(entry);
  if (entry !== state.shown) return;
  drawProgress(entry);
  if (entry.phase !== phase) announce(entry.phase);
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
  if (!signal.aborted) {
    Object.assign(entry, { photos: [photo], thumbnail, url: URL.createObjectURL(photo) });
  }
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
