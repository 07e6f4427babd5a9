/* Main script of the start page: photos in, results out, without page loads.
 *
 * An entry is one photo, or several photos of one plant combined. Entries live in this page's memory
 * and are classified one at a time:
 *
 *     waiting -> in progress -> answer | problem
 *
 * The sheet and the panel show one entry; the list below links to all of them. Markup comes from
 * template elements rendered by the server (templates/parts.html), text from `languages/`. Without
 * this script, the page's forms still work. */

import {
  copy,
  decimal,
  fill,
  languageOf,
  nameOf,
  percent,
  resultOf,
  say,
  texts,
  verdictText,
} from "./answer.js";
import { prepare } from "./photo.js";

const main = document.querySelector("main");
const sheet = main.querySelector(".sheet");
let panel = document.getElementById("panel");
const tools = main.querySelector(".tools");
const list = main.querySelector(".visit");
const tiles = list.querySelector("ol");
const status = document.getElementById("status");
const { formats } = main.dataset;
const maxBodyMib = Number(main.dataset.maxBodyMib);
const maxCombined = Number(main.dataset.maxCombined);

const COPIED_MS = 2000;

/* The page as rendered by the server. Cancel returns to it if no photo was shown before. */
const start = {
  title: document.title,
  panel: [...panel.childNodes],
  mount: sheet.querySelector(".mount"),
};

let visit = []; // all entries, oldest first
let waiting = []; // entries not yet started
let shown = null; // the entry on display; null for the start page
let before = null; // the entry on display before the latest choice
let controller = null; // an AbortController while photos are being classified
let selected = null; // entries ticked for combining; null outside that mode

/* -- Markup --------------------------------------------------------------- */

function problemOf({ title, detail, retryable }, retry) {
  const problem = copy("problem", { ".title": title, ".detail": detail });
  const button = problem.querySelector(".retry");
  button.hidden = !retryable;
  button.addEventListener("click", retry);
  return problem;
}

function progressOf(entry) {
  const progress = copy("progress");
  progress.querySelector(".cancel").addEventListener("click", cancel);
  drawProgress(progress, entry);
  return progress;
}

function drawProgress(progress, { phase, share }) {
  progress.querySelector(".phase").textContent = phase;
  const bar = progress.querySelector("progress");
  bar.setAttribute("aria-label", phase);
  if (share === null) bar.removeAttribute("value");
  else bar.setAttribute("value", share);
}

/* Created once per entry; a new element would flicker when the answer arrives. */
function mountOf(entry) {
  const mount = copy("photo");
  const photo = mount.querySelector(".photo");
  // The server may support a format that the browser does not.
  photo.addEventListener("error", () => {
    mount.remove();
    entry.mount = null;
  });
  photo.src = entry.url;
  return mount;
}

function combinedMountOf({ parts }) {
  const mount = copy("photo");
  const photos = parts.filter((entry) => entry.mount).map(({ url }) => {
    const photo = mount.querySelector(".photo").cloneNode();
    photo.src = url;
    return photo;
  });
  const note = copy("combined");
  note.textContent = say("combined_note", { count: parts.length });
  mount.classList.add("combined");
  mount.replaceChildren(...photos, note);
  return mount;
}

function addMaps(mount, { predictions }) {
  for (const prediction of predictions) {
    const { activation_map: source } = prediction;
    if (!source) continue;
    const map = copy("map");
    map.src = source;
    fill(map, "alt", nameOf(prediction));
    mount.append(map);
  }
}

/* -- Display -------------------------------------------------------- */

function setPanel(...nodes) {
  // Keep keyboard focus here when the focused button is removed.
  const focused = panel.contains(document.activeElement);
  const old = panel;
  panel = old.cloneNode(); // a new element causes no layout shift
  panel.append(...nodes);
  old.replaceWith(panel);
  if (focused) panel.focus({ preventScroll: true });
}

function mount(element) {
  const old = sheet.querySelector(".mount");
  if (element === old) return;
  old?.remove();
  if (element) sheet.prepend(element);
}

function show(entry) {
  shown = entry;
  let { title } = start;
  if (entry === null) {
    mount(start.mount);
    setPanel(...start.panel);
  } else {
    // Keep the previous photo until this one is ready.
    if (entry.photos || !isNaming(entry)) mount(entry.mount);
    if (entry.answer) {
      setPanel(resultOf(entry.answer));
      title = `${nameOf(entry.answer.predictions[0])} · Petalscope`;
    } else if (entry.problem) {
      setPanel(problemOf(entry.problem, () => retry(entry)));
      title = `${entry.problem.title} · Petalscope`;
    } else {
      setPanel(progressOf(entry));
    }
  }
  document.title = title;
  main.classList.toggle("naming", isNaming(entry));
  tools.hidden = !entry?.answer;
  drawVisit();
  if (entry) tiles.scrollLeft = entry.tile.offsetLeft - (tiles.clientWidth - entry.tile.clientWidth) / 2;
}

const isNaming = (entry) => entry !== null && !entry.answer && !entry.problem;

function drawVisit() {
  for (const entry of visit) {
    const { tile, thumbnail, answer, problem, parts } = entry;
    const picture = tile.querySelector("img");
    picture.hidden = !thumbnail;
    if (thumbnail && picture.src !== thumbnail) picture.src = thumbnail;
    const label = tile.querySelector(".label");
    const best = answer?.predictions[0];
    label.lang = best ? languageOf(best) : document.documentElement.lang;
    label.textContent = best ? nameOf(best) : problem ? texts.not_named : entry.label;
    tile.querySelector(".of").textContent = parts && answer ? entry.label : "";
    const button = tile.querySelector("button");
    button.disabled = waiting.includes(entry) || (selected !== null && !canCombine(entry));
    button.ariaCurrent = entry === shown && !selected ? "true" : null;
    button.ariaPressed = selected && canCombine(entry) ? String(selected.includes(entry)) : null;
  }
  list.hidden = visit.length < 2;
  // If the entry on display is in progress, its own Cancel button is enough.
  list.querySelector(".cancel").hidden = !controller || isNaming(shown);
  drawCombining();
}

/* Redraw an entry after a change. */
function refresh(entry) {
  if (entry === shown) show(entry);
  else drawVisit();
}

/* -- Classification --------------------------------------------------------------- */

function newEntry(values) {
  const tile = copy("tile");
  const entry = { tile, mount: null, phase: texts.sending, share: null, ...values };
  tile.querySelector("button").addEventListener("click", () => {
    if (selected) return toggleSelected(entry);
    show(entry);
    window.scrollTo({ top: 0 });
  });
  return entry;
}

const entryOf = (file) => newEntry({ file, label: file.name.replace(/\.\w+$/, "") });

function forget(entries) {
  for (const { tile, url } of entries) {
    tile.remove();
    URL.revokeObjectURL(url);
  }
  visit = visit.filter((entry) => !entries.includes(entry));
  waiting = waiting.filter((entry) => !entries.includes(entry));
}

/* Abort the entry in progress and drop the waiting ones. */
function stop() {
  controller?.abort();
  controller = null;
  forget(visit.filter(isNaming));
}

function cancel() {
  const unseen = isNaming(shown);
  stop();
  status.textContent = texts.cancelled;
  if (unseen) show(visit.includes(before) ? before : null);
  else drawVisit();
}

/* Queue files. They replace an entry in progress that is on display. */
function nameFiles(files) {
  if (files.length > 0) nameEntries([...files].map(entryOf));
}

function nameEntries(entries) {
  selected = null;
  if (isNaming(shown)) stop();
  else before = shown;
  // Failed entries stay in the list only until the next choice.
  forget(visit.filter(({ problem }) => problem));
  entries[0].leads = true;
  tiles.append(...entries.map(({ tile }) => tile));
  visit.push(...entries);
  waiting.push(...entries);
  if (!controller) work();
  else drawVisit();
}

function retry(entry) {
  entry.problem = null;
  entry.leads = true;
  waiting.push(entry);
  if (!controller) work();
  else show(entry);
}

/* Classify the waiting entries in turn. The first of each choice is displayed. */
async function work() {
  controller = new AbortController();
  const { signal } = controller;
  while (waiting.length > 0) {
    const entry = waiting.shift();
    if (entry.leads) {
      show(entry);
      status.textContent = entry.phase;
      window.scrollTo({ top: 0 });
    }
    await name(entry, signal);
    if (signal.aborted) return;
    if (waiting.length === 0) controller = null;
    refresh(entry);
    if (entry === shown) status.textContent = entry.answer ? summaryOf(entry.answer) : "";
    else if (!controller) status.textContent = texts.done;
  }
}

const summaryOf = ({ predictions: [best], verdict }) =>
  `${verdictText(verdict)} ${nameOf(best)}, ${percent(best.probability)}`;

/* Classify one entry; set its `answer` or `problem`. */
async function name(entry, signal) {
  if (!entry.photos) {
    let prepared;
    try {
      prepared = await prepare(entry.file);
    } catch {
      entry.problem = { title: texts.unreadable, detail: texts.unreadable_detail };
      return;
    }
    if (signal.aborted) return;
    const { photo, thumbnail, rejected } = prepared;
    if (rejected) {
      const key = rejected === "heic" ? "heic_detail" : "no_photo_detail";
      const detail = say(key, { kind: texts[rejected], formats, mib: maxBodyMib });
      entry.problem = { title: texts.no_photo, detail };
      return;
    }
    Object.assign(entry, { photos: [photo], thumbnail, url: URL.createObjectURL(photo) });
    entry.mount = mountOf(entry);
  }
  // Checked here too: the server may close the connection mid-upload, which hides the reason.
  const mib = entry.photos.reduce((sum, { size }) => sum + size, 0) / 2 ** 20;
  if (mib > maxBodyMib) {
    const large = entry.parts ? "large_combined" : "large";
    const detail = say(`${large}_detail`, { size: decimal(mib), mib: maxBodyMib });
    entry.problem = { title: texts[large], detail };
    return;
  }
  const [sending, looking] = entry.parts
    ? [texts.sending_combined, texts.looking_combined]
    : [texts.sending, texts.looking];
  Object.assign(entry, { phase: sending, share: null });
  refresh(entry);
  const [code, answer] = await post(entry, signal, (share) => {
    const phase = share === null ? looking : sending;
    if (phase !== entry.phase && entry === shown) status.textContent = phase;
    Object.assign(entry, { phase, share });
    if (entry === shown) drawProgress(panel, entry);
  });
  if (code === 200 && answer?.predictions) {
    entry.answer = answer;
    if (entry.mount) addMaps(entry.mount, answer);
  } else entry.problem = refusal(code, answer);
}

function refusal(code, problem) {
  if (code === 0) return { title: texts.unsent, detail: texts.unsent_detail, retryable: true };
  const { titles, details } = texts;
  return {
    title: titles[problem?.code] ?? titles[code] ?? titles.other,
    detail: details[problem?.code] ?? problem?.detail ?? texts.failed_detail,
    retryable: code >= 500 || code === 429,
  };
}

/* Send the photos of an entry; resolve to [status, body], with status 0 on a network error.
 *
 * `onProgress` gets the fraction sent, 0 to 1, then null once the upload is complete. */
function post({ photos, parts }, signal, onProgress) {
  return new Promise((resolve) => {
    const body = new FormData();
    for (const photo of photos) body.append("image", photo);
    // XMLHttpRequest, because fetch reports no upload progress.
    const request = new XMLHttpRequest();
    request.open("POST", parts ? main.dataset.combine : main.dataset.predict);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    const { upload } = request;
    upload.addEventListener("progress", ({ loaded, total }) => onProgress(loaded / total));
    upload.addEventListener("load", () => onProgress(null));
    request.addEventListener("loadend", () => resolve([request.status, request.response]));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/* -- Combining photos of one plant ------------------------------------------ */

const combineButton = list.querySelector(".combine");
const combineNow = list.querySelector(".combine-now");
const combineCancel = list.querySelector(".combine-cancel");
const heading = list.querySelector("h2");
const headings = { visit: heading.textContent, combining: heading.dataset.combining };

const canCombine = (entry) => Boolean(entry.answer && !entry.parts);

function drawCombining() {
  const count = selected?.length;
  const enough = count >= 2 && count <= maxCombined;
  combineButton.hidden = selected !== null || controller !== null || visit.filter(canCombine).length < 2;
  combineCancel.hidden = combineNow.hidden = !selected;
  combineNow.disabled = !enough;
  combineNow.textContent = enough ? say("combine_now", { count }) : say("combine_rule", { most: maxCombined });
  heading.textContent = selected ? headings.combining : headings.visit;
}

function toggleSelected(entry) {
  selected = selected.includes(entry) ? selected.filter((other) => other !== entry) : [...selected, entry];
  drawVisit();
  status.textContent = combineNow.textContent;
}

/* Preselect the latest photos, which are most likely of one plant. */
combineButton.addEventListener("click", () => {
  selected = visit.filter(canCombine).slice(-maxCombined);
  drawVisit();
  const [first] = selected;
  first.tile.querySelector("button").focus({ preventScroll: true });
  tiles.scrollLeft = first.tile.offsetLeft;
});

combineCancel.addEventListener("click", () => {
  selected = null;
  drawVisit();
  combineButton.focus();
});

combineNow.addEventListener("click", () => {
  const parts = visit.filter((entry) => selected.includes(entry));
  const label = say("combined", { count: parts.length });
  const photos = parts.flatMap((entry) => entry.photos);
  const [{ thumbnail }] = parts;
  const entry = newEntry({ parts, label, photos, thumbnail, phase: texts.sending_combined });
  entry.tile.querySelector("button").classList.add("combined");
  entry.mount = combinedMountOf(entry);
  nameEntries([entry]);
  panel.focus({ preventScroll: true });
});

/* -- Copying -------------------------------------------------------------- */

const COPIES = {
  text: ({ predictions, verdict }) =>
    [
      verdictText(verdict),
      ...predictions.map((prediction) => {
        const { scientific_name: scientificName, probability } = prediction;
        const latin = scientificName ? ` (${scientificName})` : "";
        return `${nameOf(prediction)}${latin}: ${percent(probability)}`;
      }),
    ].join("\n"),
  json: (answer) => {
    // Heat maps are large data URLs.
    const omitMaps = (key, value) => (key === "activation_map" ? undefined : value);
    return JSON.stringify(answer, omitMaps, 2);
  },
};

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The Clipboard API requires HTTPS.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
  return true;
}

for (const button of tools.querySelectorAll("button")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const done = await toClipboard(COPIES[button.dataset.copies](shown.answer));
    button.focus();
    button.textContent = status.textContent = done ? texts.copied : texts.not_copied;
    setTimeout(() => {
      button.textContent = label;
    }, COPIED_MS);
  });
}

/* -- File input ------------------------------------------------------------- */

// Set here, because without this script the form would send all files in one request.
document.getElementById("file").multiple = true;

for (const input of document.querySelectorAll(".picker input")) {
  input.addEventListener("change", () => {
    nameFiles(input.files);
    input.value = ""; // allow choosing the same file again
  });
}

sheet.querySelector(".plate").addEventListener("click", () => document.getElementById("file").click());
list.querySelector(".cancel").addEventListener("click", cancel);

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const dragging = (on) => document.documentElement.classList.toggle("dragging", on);

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // otherwise the browser opens the file
  event.dataTransfer.dropEffect = "copy";
  dragging(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) dragging(false);
});
document.addEventListener("drop", (event) => {
  dragging(false);
  if (!hasFiles(event)) return;
  event.preventDefault();
  nameFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => nameFiles(event.clipboardData?.files ?? []));

document.documentElement.classList.add("js");

// Relative to the mount path. Undefined without HTTPS.
navigator.serviceWorker?.register(new URL("../service-worker.js", import.meta.url)).catch(() => {});
