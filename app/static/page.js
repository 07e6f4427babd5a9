/* The page in place: photos chosen, dropped or pasted -> POST /predict, one after another -> names.
 *
 * Each photo is an entry of this visit, which only this page's memory holds:
 *
 *     waiting -> under way -> answer | problem
 *
 * The sheet and the words show one entry, the list below them leads to all. All markup comes from
 * the page's template elements, which the server renders from the same macros as its own answers
 * (templates/parts.html). Without this script the forms do the work. */

import { prepare, whatToSend } from "./photo.js";

const main = document.querySelector("main");
const sheet = main.querySelector(".sheet");
let words = document.getElementById("words");
const tools = main.querySelector(".tools");
const list = main.querySelector(".visit");
const tiles = list.querySelector("ol");
const status = document.getElementById("status");
const { formats } = main.dataset;
const maxBodyMib = Number(main.dataset.maxBodyMib);

const SENDING = "Sending the photo";
const LOOKING = "Looking at the photo";
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

/* -- Markup --------------------------------------------------------------- */

function copy(id, texts = {}) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  for (const [selector, text] of Object.entries(texts)) {
    element.querySelector(selector).textContent = text;
  }
  return element;
}

/* As the macro `percent` writes it. */
function percent(probability) {
  if (probability < 0.001) return "<\u00a00.1\u00a0%";
  if (probability >= 0.9995) return ">\u00a099.9\u00a0%";
  return `${(probability * 100).toFixed(1)}\u00a0%`;
}

const capitalised = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

const verdictWords = (verdict) => document.getElementById(verdict).content.textContent;

function lookUp(link, parameter, term) {
  const address = new URL(link.href);
  address.searchParams.set(parameter, term);
  link.href = address;
}

/* As the macro `about` writes it. */
function about({ name, scientific_name: scientificName }) {
  const element = copy("about");
  lookUp(element.querySelector(".wikipedia"), "search", scientificName ?? name);
  if (scientificName) {
    const [taxon, cultivar] = scientificName.split(" '");
    element.querySelector("i").textContent = taxon;
    if (cultivar) element.querySelector(".latin").append(` ‘${cultivar.replace("'", "")}’`);
    lookUp(element.querySelector(".gbif"), "q", taxon);
  } else {
    for (const absent of element.querySelectorAll(".latin, .gbif")) absent.remove();
  }
  return element;
}

function resultOf({ predictions, verdict }) {
  const result = copy("result", { ".kicker": verdictWords(verdict) });
  result.classList.add(verdict);
  for (const [index, prediction] of predictions.entries()) {
    const { name, probability } = prediction;
    const row = copy("prediction", { ".name": name, ".percent": percent(probability) });
    row.querySelector(".unseen").append(name);
    row.querySelector(".name").setAttribute("href", prediction.flower);
    row.querySelector("rect").setAttribute("width", `${(probability * 100).toFixed(2)}%`);
    if (index === 0) {
      row.querySelector("input").defaultChecked = true;
      row.querySelector(".bar").before(about(prediction));
    }
    result.querySelector("ol").append(row);
  }
  return result;
}

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

function addMaps(mount, { predictions }) {
  for (const { name, activation_map: source } of predictions) {
    if (!source) continue;
    const map = copy("map");
    map.src = source;
    map.alt += name;
    mount.append(map);
  }
}

/* -- What is shown -------------------------------------------------------- */

function say(...nodes) {
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
    say(...start.words);
  } else {
    // The photo before stays until this one is ready.
    if (entry.url || !isNaming(entry)) mount(entry.mount);
    if (entry.answer) {
      say(resultOf(entry.answer));
      title = entry.answer.predictions[0].name;
    } else if (entry.problem) {
      say(problemOf(entry.problem, () => again(entry)));
      title = entry.problem.title;
    } else {
      say(progressOf(entry));
    }
  }
  document.title = title === start.title ? title : `${capitalised(title)} · Petalscope`;
  main.classList.toggle("naming", isNaming(entry));
  tools.hidden = !entry?.answer;
  drawVisit();
  if (entry) tiles.scrollLeft = entry.tile.offsetLeft - (tiles.clientWidth - entry.tile.clientWidth) / 2;
}

const isNaming = (entry) => entry !== null && !entry.answer && !entry.problem;

function drawVisit() {
  for (const entry of visit) {
    const { tile, thumbnail, answer, problem } = entry;
    const picture = tile.querySelector("img");
    picture.hidden = !thumbnail;
    if (thumbnail && picture.src !== thumbnail) picture.src = thumbnail;
    const unnamed = problem ? "Not named" : entry.file.name.replace(/\.\w+$/, "");
    tile.querySelector(".label").textContent = answer?.predictions[0].name ?? unnamed;
    const button = tile.querySelector("button");
    button.disabled = waiting.includes(entry);
    button.ariaCurrent = entry === shown ? "true" : null;
  }
  list.hidden = visit.length < 2;
  // While the shown photo is under way its own button cancels all.
  list.querySelector(".cancel").hidden = !underWay || isNaming(shown);
}

/* Show what has become of an entry, if it is the one to be seen. */
function refresh(entry) {
  if (entry === shown) show(entry);
  else drawVisit();
}

/* -- Naming --------------------------------------------------------------- */

function newEntry(file) {
  const tile = copy("tile");
  const entry = { file, tile, mount: null, phase: SENDING, share: null };
  tile.querySelector("button").addEventListener("click", () => {
    show(entry);
    window.scrollTo({ top: 0 });
  });
  return entry;
}

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
  status.textContent = "Cancelled";
  if (unseen) show(visit.includes(before) ? before : null);
  else drawVisit();
}

/* Take the place of a photo that is under way and shown; come after those in the background. */
function nameAll(files) {
  if (files.length === 0) return;
  if (isNaming(shown)) stop();
  else before = shown;
  // Of several refused photos the list tells which, until others are chosen.
  forget(visit.filter(({ problem }) => problem));
  const entries = [...files].map(newEntry);
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
      status.textContent = SENDING;
      window.scrollTo({ top: 0 });
    }
    await name(entry, signal);
    if (signal.aborted) return;
    if (waiting.length === 0) underWay = null;
    refresh(entry);
    if (entry === shown) status.textContent = entry.answer ? inWords(entry.answer) : "";
    else if (!underWay) status.textContent = "All photos are done";
  }
}

const inWords = ({ predictions: [best], verdict }) =>
  `${verdictWords(verdict)} ${best.name}, ${percent(best.probability)}`;

/* Give an entry its answer or its problem. */
async function name(entry, signal) {
  if (!entry.photo) {
    let prepared;
    try {
      prepared = await prepare(entry.file);
    } catch {
      entry.problem = {
        title: "This file cannot be read",
        detail: "It may be a folder, or have been moved. Choose the photo itself, once more.",
      };
      return;
    }
    if (signal.aborted) return;
    if (prepared.other) {
      entry.problem = {
        title: "Not a photo we can read",
        detail: whatToSend(prepared.other, formats, maxBodyMib),
      };
      return;
    }
    Object.assign(entry, prepared);
    entry.url = URL.createObjectURL(entry.photo);
    entry.mount = mountOf(entry);
  }
  // The server refuses it too, but may hang up before it is sent, which tells a person nothing.
  const mib = entry.photo.size / 2 ** 20;
  if (mib > maxBodyMib) {
    entry.problem = {
      title: "This photo is too large",
      detail: `It has ${mib.toFixed(1)} MiB; up to ${maxBodyMib} MiB can be sent. Choose a smaller one.`,
    };
    return;
  }
  Object.assign(entry, { phase: SENDING, share: null });
  refresh(entry);
  const [code, answer] = await post(entry.photo, signal, (phase, share) => {
    if (phase !== entry.phase && entry === shown) status.textContent = phase;
    Object.assign(entry, { phase, share });
    if (entry === shown) drawProgress(words, entry);
  });
  if (code === 200 && answer?.predictions) {
    entry.answer = answer;
    if (entry.mount) addMaps(entry.mount, answer);
  } else entry.problem = refusal(code, answer?.detail);
}

function refusal(code, detail) {
  if (code === 0) {
    return {
      title: "The photo could not be sent",
      detail: "Petalscope cannot be reached. See whether you are connected, then try again.",
      retry: true,
    };
  }
  const refused = code < 500 && code !== 429;
  return {
    title: refused ? "This photo cannot be named" : "Petalscope could not answer",
    detail: detail ?? "Something between here and Petalscope went wrong. Try again in a moment.",
    retry: !refused,
  };
}

/* Send a photo: [status, answer]; the status is 0 where no answer came. */
function post(photo, signal, tell) {
  return new Promise((resolve) => {
    const body = new FormData();
    body.append("image", photo);
    // Not fetch: it cannot tell how much of an upload has left.
    const request = new XMLHttpRequest();
    request.open("POST", main.dataset.predict);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    const { upload } = request;
    upload.addEventListener("progress", ({ loaded, total }) => tell(SENDING, loaded / total));
    upload.addEventListener("load", () => tell(LOOKING, null));
    request.addEventListener("loadend", () => resolve([request.status, request.response]));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/* -- Copying -------------------------------------------------------------- */

const COPIES = {
  text: ({ predictions, verdict }) =>
    [
      verdictWords(verdict),
      ...predictions.map(({ name, scientific_name: scientificName, probability }) => {
        const latin = scientificName ? ` (${scientificName})` : "";
        return `${capitalised(name)}${latin}: ${percent(probability)}`;
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
    button.textContent = status.textContent = done ? "Copied" : "Not copied";
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
