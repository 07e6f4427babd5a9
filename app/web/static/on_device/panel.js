/* The section about identification on this device: download, cancel, update, remove. */

import { bytesOf, install, latest, missingFiles, refreshPages, uninstall } from "./install.js";
import { choice, choose, KEY, section } from "./offer.js";
import { installed } from "./store.js";

const { manifest: manifestUrl } = section.dataset;
const texts = JSON.parse(section.dataset.texts);
const state = section.querySelector(".state");
const bar = section.querySelector("progress");
const size = section.querySelector(".size");
const buttons = Object.fromEntries(
  ["install", "stop", "update", "remove"].map((name) => [name, section.querySelector(`.${name}`)]),
);

const format = (key, values) => texts[key].replace(/{(\w+)}/g, (_, name) => values[name]);

const megabytes = (bytes) => Math.max(1, Math.round(bytes / 1e6));

const WAIT_MS = 200;

/* Return the installed manifest; null without one, or if the browser blocks storage. */
const current = () => installed().catch(() => null);

let running = null; // the download: {controller, done, progress}

/* Return the sentence that the section shows. */
export const sentence = () => state.textContent;

/* Show a sentence and some of the buttons; the focus stays in the section. */
function show(message, ...names) {
  const hadFocus = section.contains(document.activeElement);
  state.textContent = message;
  bar.hidden = size.hidden = running === null;
  for (const [name, button] of Object.entries(buttons)) button.hidden = !names.includes(name);
  if (hadFocus) section.querySelector("button:not([hidden])")?.focus();
}

function showProgress(received, total) {
  if (!running) return; // another tab has ended it
  running.progress = total > 0 ? received / total : 1;
  bar.value = running.progress;
  size.textContent = format("size", { done: Math.round(received / 1e6), total: megabytes(total) });
}

/* Return the sentence for a download that ended early. */
function reasonOf({ name }) {
  if (name === "AbortError") return texts.stopped;
  if (name === "QuotaExceededError") return texts.full;
  return name === "DamagedError" ? texts.damaged : texts.failed;
}

/* Download and install; the promise resolves once it is finished or has failed. */
export function download() {
  running ??= begin();
  return running.done;
}

function begin() {
  const controller = new AbortController();
  return { controller, done: run(controller), progress: 0 };
}

async function run(controller) {
  const { signal } = controller;
  const isUpdate = (await current()) !== null;
  bar.removeAttribute("value");
  size.textContent = "";
  show(texts.downloading, "stop");
  // Otherwise the browser may delete the files when space is short. It may ask the visitor.
  navigator.storage.persist?.().catch(() => {});
  try {
    // One tab at a time, because all use the same parts.
    const work = () => install(manifestUrl, { signal, onProgress: showProgress });
    await navigator.locks.request(manifestUrl, { signal }, work);
    running = null;
    choose("on");
    show(isUpdate ? texts.updated : texts.on, "remove");
  } catch (error) {
    controller.abort(); // the work goes on if another tab has taken the lock to remove the files
    running = null;
    if (isUpdate && choice() === "off") show(texts.removed, "install");
    else if (isUpdate) show(reasonOf(error), "update", "remove");
    else {
      if (error.name === "AbortError") choose("off");
      show(reasonOf(error), "install");
    }
  }
}

/* Resolve to the installed manifest, after the first download if it is in progress; else to null.
 *
 * `onWait` gets the fraction downloaded, several times a second. */
export async function ready(onWait) {
  await starting;
  const manifest = await current();
  if (manifest || !running) {
    if (!manifest && !buttons.remove.hidden) show(texts.lost, "install");
    return manifest;
  }
  const timer = setInterval(() => running && onWait(running.progress), WAIT_MS);
  await running.done;
  clearInterval(timer);
  return current();
}

async function findUpdate() {
  const newest = await latest(manifestUrl);
  // Another tab may be replacing the manifest.
  const manifest = await navigator.locks.request(manifestUrl, () => refreshPages(newest));
  if (!manifest || newest.version === manifest.version || running) return;
  const mb = megabytes(bytesOf(await missingFiles(newest)));
  buttons.update.textContent = format("update", { mb });
  show(texts.newer, "update", "remove");
}

buttons.install.addEventListener("click", download);
buttons.update.addEventListener("click", download);
buttons.stop.addEventListener("click", () => running?.controller.abort());
buttons.remove.addEventListener("click", async () => {
  choose("off");
  // Ends the download of another tab, which would store the files again.
  await navigator.locks.request(manifestUrl, { steal: true }, uninstall);
  show(texts.removed, "install");
});

/* Follow the choice that the visitor makes in another tab. */
window.addEventListener("storage", ({ key }) => {
  if (key !== KEY) return;
  if (running) {
    if (choice() === "off") running.controller.abort();
  } else if (choice() === "on") start();
  else if (!buttons.remove.hidden) show(texts.removed, "install");
});

async function start() {
  if (await current()) {
    show(texts.on, "remove");
    findUpdate().catch(() => {}); // at the next visit
  } else if (section.dataset.default === "on" && choice() !== "off") download();
  else if (choice() === "on") show(texts.lost, "install");
}

const starting = start();
