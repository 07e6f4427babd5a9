/* The page in place: photos chosen, dropped or pasted -> POST /predict, one after another -> names.
 *
 * Each photo is an entry of this visit, which only this page's memory holds, and so are the photos
 * of one plant that were joined:
 *
 *     waiting -> under way -> answer | problem
 *
 * The sheet and the words show one entry, the list below them leads to all. All markup comes from
 * the page's template elements, which the server renders from the same macros as its own answers
 * (templates/parts.html), and all words from `languages/`. Without this script the forms do the work. */

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
  verdictWords,
} from "./answer.js";
import { prepare } from "./photo.js";

const main = document.querySelector("main");
const sheet = main.querySelector(".sheet");
let words = document.getElementById("words");
const tools = main.querySelector(".tools");
const list = main.querySelector(".visit");
const tiles = list.querySelector("ol");
const status = document.getElementById("status");
const { formats } = main.dataset;
const maxBodyMib = Number(main.dataset.maxBodyMib);
const mostJoined = Number(main.dataset.mostJoined);

const COPIED_MS = 2000;

/* What the server rendered: to it Cancel leads back where there was nothing before. */
const start = {
  title: document.title,
  words: [...words.childNodes],
  mount: sheet.querySelector(".mount"),
};

let visit = []; // all entries, in their order
let waiting = []; // those whose turn has not come
let shown = null; // the entry that is shown; null for the start
let before = null; // what was shown before a photo was chosen
let underWay = null; // an AbortController while there are photos to name
let joining = null; // the entries chosen to be joined, while they are

/* -- Markup --------------------------------------------------------------- */

function problemOf({ title, detail, retry }, again) {
  const problem = copy("problem", { ".title": title, ".detail": detail });
  const button = problem.querySelector(".retry");
  button.hidden = !retry;
  button.addEventListener("click", again);
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

/* Made once, or the photo would blink when its answer comes. */
function mountOf(entry) {
  const mount = copy("photo");
  const photo = mount.querySelector(".photo");
  // What the browser cannot show, the server may still read, or will refuse with a reason.
  photo.addEventListener("error", () => {
    mount.remove();
    entry.mount = null;
  });
  photo.src = entry.url;
  return mount;
}

function joinedMountOf({ joins }) {
  const mount = copy("photo");
  const photos = joins.filter((entry) => entry.mount).map(({ url }) => {
    const photo = mount.querySelector(".photo").cloneNode();
    photo.src = url;
    return photo;
  });
  const note = copy("joined");
  note.textContent = say("from_joined", { count: joins.length });
  mount.classList.add("joined");
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

/* -- What is shown -------------------------------------------------------- */

function tell(...nodes) {
  // Or the keyboard would start from the top again when the button it was on goes.
  const focused = words.contains(document.activeElement);
  const old = words;
  words = old.cloneNode(); // nothing moves where all is new
  words.append(...nodes);
  old.replaceWith(words);
  if (focused) words.focus({ preventScroll: true });
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
    tell(...start.words);
  } else {
    // The photo before stays until this one is ready.
    if (entry.photos || !isNaming(entry)) mount(entry.mount);
    if (entry.answer) {
      tell(resultOf(entry.answer));
      title = `${nameOf(entry.answer.predictions[0])} · Petalscope`;
    } else if (entry.problem) {
      tell(problemOf(entry.problem, () => again(entry)));
      title = `${entry.problem.title} · Petalscope`;
    } else {
      tell(progressOf(entry));
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
    const { tile, thumbnail, answer, problem, joins } = entry;
    const picture = tile.querySelector("img");
    picture.hidden = !thumbnail;
    if (thumbnail && picture.src !== thumbnail) picture.src = thumbnail;
    const label = tile.querySelector(".label");
    const best = answer?.predictions[0];
    label.lang = best ? languageOf(best) : document.documentElement.lang;
    label.textContent = best ? nameOf(best) : problem ? texts.not_named : entry.label;
    tile.querySelector(".of").textContent = joins && answer ? entry.label : "";
    const button = tile.querySelector("button");
    button.disabled = waiting.includes(entry) || (joining !== null && !canJoin(entry));
    button.ariaCurrent = entry === shown && !joining ? "true" : null;
    button.ariaPressed = joining && canJoin(entry) ? String(joining.includes(entry)) : null;
  }
  list.hidden = visit.length < 2;
  // While the shown photo is under way its own button cancels all.
  list.querySelector(".cancel").hidden = !underWay || isNaming(shown);
  drawJoining();
}

/* Show what has become of an entry, if it is the one to be seen. */
function refresh(entry) {
  if (entry === shown) show(entry);
  else drawVisit();
}

/* -- Naming --------------------------------------------------------------- */

function newEntry(values) {
  const tile = copy("tile");
  const entry = { tile, mount: null, phase: texts.sending, share: null, ...values };
  tile.querySelector("button").addEventListener("click", () => {
    if (joining) return choosePart(entry);
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

/* Give up what is under way and what waits. */
function stop() {
  underWay?.abort();
  underWay = null;
  forget(visit.filter(isNaming));
}

function cancel() {
  const unseen = isNaming(shown);
  stop();
  status.textContent = texts.cancelled;
  if (unseen) show(visit.includes(before) ? before : null);
  else drawVisit();
}

/* Take the place of a photo that is under way and shown; come after those in the background. */
function nameAll(files) {
  if (files.length > 0) nameEntries([...files].map(entryOf));
}

function nameEntries(entries) {
  joining = null;
  if (isNaming(shown)) stop();
  else before = shown;
  // Of several refused photos the list tells which, until others are chosen.
  forget(visit.filter(({ problem }) => problem));
  entries[0].leads = true;
  tiles.append(...entries.map(({ tile }) => tile));
  visit.push(...entries);
  waiting.push(...entries);
  if (!underWay) work();
  else drawVisit();
}

function again(entry) {
  entry.problem = null;
  entry.leads = true;
  waiting.push(entry);
  if (!underWay) work();
  else show(entry);
}

/* The first photo of a choice is shown, and the others fill the list while its answer is read. */
async function work() {
  underWay = new AbortController();
  const { signal } = underWay;
  while (waiting.length > 0) {
    const entry = waiting.shift();
    if (entry.leads) {
      show(entry);
      status.textContent = entry.phase;
      window.scrollTo({ top: 0 });
    }
    await name(entry, signal);
    if (signal.aborted) return;
    if (waiting.length === 0) underWay = null;
    refresh(entry);
    if (entry === shown) status.textContent = entry.answer ? inWords(entry.answer) : "";
    else if (!underWay) status.textContent = texts.done;
  }
}

const inWords = ({ predictions: [best], verdict }) =>
  `${verdictWords(verdict)} ${nameOf(best)}, ${percent(best.probability)}`;

/* Give an entry its answer or its problem. */
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
    const { photo, thumbnail, other } = prepared;
    if (other) {
      const key = other === "heic" ? "heic_detail" : "no_photo_detail";
      const detail = say(key, { kind: texts[other], formats, mib: maxBodyMib });
      entry.problem = { title: texts.no_photo, detail };
      return;
    }
    Object.assign(entry, { photos: [photo], thumbnail, url: URL.createObjectURL(photo) });
    entry.mount = mountOf(entry);
  }
  // The server refuses it too, but may hang up before it is sent, which tells a person nothing.
  const mib = entry.photos.reduce((sum, { size }) => sum + size, 0) / 2 ** 20;
  if (mib > maxBodyMib) {
    const large = entry.joins ? "large_joined" : "large";
    const detail = say(`${large}_detail`, { size: decimal(mib), mib: maxBodyMib });
    entry.problem = { title: texts[large], detail };
    return;
  }
  const [sending, looking] = entry.joins
    ? [texts.sending_joined, texts.looking_joined]
    : [texts.sending, texts.looking];
  Object.assign(entry, { phase: sending, share: null });
  refresh(entry);
  const [code, answer] = await post(entry, signal, (share) => {
    const phase = share === null ? looking : sending;
    if (phase !== entry.phase && entry === shown) status.textContent = phase;
    Object.assign(entry, { phase, share });
    if (entry === shown) drawProgress(words, entry);
  });
  if (code === 200 && answer?.predictions) {
    entry.answer = answer;
    if (entry.mount) addMaps(entry.mount, answer);
  } else entry.problem = refusal(code, answer);
}

function refusal(code, problem) {
  if (code === 0) return { title: texts.unsent, detail: texts.unsent_detail, retry: true };
  const busy = code === 429;
  const refused = code < 500 && !busy;
  return {
    title: busy ? texts.busy : refused ? texts.refused : texts.failed,
    detail: texts.details[problem?.code] ?? problem?.detail ?? texts.failed_detail,
    retry: !refused,
  };
}

/* Send the photos of an entry: [status, answer]; the status is 0 where no answer came.
 *
 * `tell` is called with the share that was sent, and with null when all is. */
function post({ photos, joins }, signal, tell) {
  return new Promise((resolve) => {
    const body = new FormData();
    for (const photo of photos) body.append("image", photo);
    // Not fetch: it cannot tell how much of an upload has left.
    const request = new XMLHttpRequest();
    request.open("POST", joins ? main.dataset.combine : main.dataset.predict);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    const { upload } = request;
    upload.addEventListener("progress", ({ loaded, total }) => tell(loaded / total));
    upload.addEventListener("load", () => tell(null));
    request.addEventListener("loadend", () => resolve([request.status, request.response]));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/* -- Several photos of one plant ------------------------------------------ */

const joinButton = list.querySelector(".join");
const joinNow = list.querySelector(".join-now");
const joinKeep = list.querySelector(".join-keep");
const heading = list.querySelector("h2");
const headings = { visit: heading.textContent, joining: heading.dataset.joining };

const canJoin = (entry) => Boolean(entry.answer && !entry.joins);

function drawJoining() {
  const count = joining?.length;
  const enough = count >= 2 && count <= mostJoined;
  joinButton.hidden = joining !== null || underWay !== null || visit.filter(canJoin).length < 2;
  joinKeep.hidden = joinNow.hidden = !joining;
  joinNow.disabled = !enough;
  joinNow.textContent = enough ? say("join_now", { count }) : say("join_rule", { most: mostJoined });
  heading.textContent = joining ? headings.joining : headings.visit;
}

function choosePart(entry) {
  joining = joining.includes(entry) ? joining.filter((other) => other !== entry) : [...joining, entry];
  drawVisit();
  status.textContent = joinNow.textContent;
}

/* The last photos are the likeliest to be of one plant; the others are a press away. */
joinButton.addEventListener("click", () => {
  joining = visit.filter(canJoin).slice(-mostJoined);
  drawVisit();
  const [first] = joining;
  first.tile.querySelector("button").focus({ preventScroll: true });
  tiles.scrollLeft = first.tile.offsetLeft;
});

joinKeep.addEventListener("click", () => {
  joining = null;
  drawVisit();
  joinButton.focus();
});

joinNow.addEventListener("click", () => {
  const joins = visit.filter((entry) => joining.includes(entry)); // in their order
  const label = say("joined", { count: joins.length });
  const photos = joins.flatMap((entry) => entry.photos);
  const [{ thumbnail }] = joins;
  const entry = newEntry({ joins, label, photos, thumbnail, phase: texts.sending_joined });
  entry.tile.querySelector("button").classList.add("joined");
  entry.mount = joinedMountOf(entry);
  nameEntries([entry]);
  words.focus({ preventScroll: true });
});

/* -- Copying -------------------------------------------------------------- */

const COPIES = {
  text: ({ predictions, verdict }) =>
    [
      verdictWords(verdict),
      ...predictions.map((prediction) => {
        const { scientific_name: scientificName, probability } = prediction;
        const latin = scientificName ? ` (${scientificName})` : "";
        return `${nameOf(prediction)}${latin}: ${percent(probability)}`;
      }),
    ].join("\n"),
  json: (answer) => {
    // The maps are pictures, and long ones.
    const leaveOut = (key, value) => (key === "activation_map" ? undefined : value);
    return JSON.stringify(answer, leaveOut, 2);
  },
};

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS, as in a home's network, there is only the old way.
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

/* -- Choosing ------------------------------------------------------------- */

// The forms alone would send all photos in one request, which takes one.
document.getElementById("file").multiple = true;

for (const input of document.querySelectorAll(".picker input")) {
  input.addEventListener("change", () => {
    nameAll(input.files);
    input.value = ""; // so that choosing the same photo again is a change
  });
}

sheet.querySelector(".plate").addEventListener("click", () => document.getElementById("file").click());
list.querySelector(".cancel").addEventListener("click", cancel);

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const dragging = (on) => document.documentElement.classList.toggle("dragging", on);

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // or a drop would leave the page for the photo
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
  nameAll(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => nameAll(event.clipboardData?.files ?? []));

document.documentElement.classList.add("js");

// Below the path where the service is; browsers have none without HTTPS.
navigator.serviceWorker?.register(new URL("../service-worker.js", import.meta.url)).catch(() => {});
