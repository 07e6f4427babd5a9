/* The sheet and the panel, which show one entry: its photo, and its result, progress or problem. */

import { clickedEntry, drawList, isPending, scrollToTile, state, tiles } from "./entries.js";
import { copy, fill, format } from "./messages.js";
import { labelOf, nameOf, resultElement } from "./result.js";

const main = document.querySelector("main");
const sheet = main.querySelector(".sheet");
const menu = main.querySelector(".menu");
const status = document.getElementById("status");
let panel = document.getElementById("panel");

/* The page as rendered by the server. Cancel returns to it if no photo was shown before. */
const start = {
  title: document.title,
  panel: [...panel.childNodes],
  mount: sheet.querySelector(".mount"),
};

/* Announce a message to screen readers. */
export function announce(message) {
  status.textContent = message;
}

/* Mark this place in the history as having a result, or none, for the way back from flower.js. */
function markPlace(hasResult) {
  try {
    if (hasResult) sessionStorage.setItem("result", window.navigation?.currentEntry.key ?? "");
    else sessionStorage.removeItem("result");
  } catch {
    // The browser blocks storage; the way back is found without it.
  }
}

markPlace(false);

/* -- Photo ---------------------------------------------------------------- */

/* Create the photo of an entry. Each entry keeps its element, because a new one would flicker. */
export function photoMount(entry) {
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

export function combinedMount(parts) {
  const mount = copy("photo");
  const photos = parts.filter((entry) => entry.mount).map(({ url }) => {
    const photo = mount.querySelector(".photo").cloneNode();
    photo.src = url;
    return photo;
  });
  const note = copy("combined");
  note.textContent = format("combined_note", { count: parts.length });
  mount.classList.add("combined");
  mount.replaceChildren(...photos, note);
  return mount;
}

export function addHeatMaps(mount, { predictions }) {
  for (const prediction of predictions) {
    const { activation_map: source } = prediction;
    if (!source) continue;
    const map = copy("map");
    map.src = source;
    fill(map, "alt", nameOf(prediction));
    mount.append(map);
  }
}

function setMount(mount) {
  const old = sheet.querySelector(".mount");
  if (mount === old) return;
  old?.remove();
  if (mount) sheet.prepend(mount);
}

/* -- Panel ---------------------------------------------------------------- */

function setPanel(...nodes) {
  // Keep keyboard focus here when the focused button is removed.
  const hadFocus = panel.contains(document.activeElement);
  const old = panel;
  panel = old.cloneNode(); // a new element causes no layout shift
  panel.append(...nodes);
  old.replaceWith(panel);
  if (hadFocus) focusPanel();
}

export function focusPanel() {
  panel.focus({ preventScroll: true });
}

function problemElement({ title, detail, retryable }) {
  const problem = copy("problem", { ".title": title, ".detail": detail });
  problem.querySelector(".retry").hidden = !retryable;
  return problem;
}

function progressElement(entry) {
  const progress = copy("progress");
  drawProgress(entry, progress);
  return progress;
}

export function drawProgress({ phase, share }, parent = panel) {
  parent.querySelector(".phase").textContent = phase;
  const bar = parent.querySelector("progress");
  bar.setAttribute("aria-label", phase);
  if (share === null) bar.removeAttribute("value");
  else bar.setAttribute("value", share);
}

/* -- Entry ---------------------------------------------------------------- */

/* Show an entry, or the start page for null. */
export function show(entry) {
  state.shown = entry;
  let { title } = start;
  if (entry === null) {
    setMount(start.mount);
    setPanel(...start.panel);
  } else {
    // Keep the previous photo until this one is ready.
    if (entry.photos || !isPending(entry)) setMount(entry.mount);
    if (entry.result) {
      setPanel(resultElement(entry.result));
      title = `${labelOf(entry.result).text} · Petalscope`;
      markPlace(true);
    } else if (entry.problem) {
      setPanel(problemElement(entry.problem));
      title = `${entry.problem.title} · Petalscope`;
    } else {
      setPanel(progressElement(entry));
    }
  }
  document.title = title;
  main.classList.toggle("pending", isPending(entry));
  menu.hidden = !entry?.result;
  menu.open = false;
  drawList();
  if (entry) scrollToTile(entry);
}

tiles.addEventListener("click", (event) => {
  const entry = clickedEntry(event);
  if (!entry || state.selected) return;
  show(entry);
  window.scrollTo({ top: 0 });
});

/* Redraw an entry after a change. */
export function refresh(entry) {
  if (entry === state.shown) show(entry);
  else drawList();
}
