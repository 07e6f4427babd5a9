/* The sheet and the panel, which show one entry: its photo, and its result, progress or problem. */

import {
  canRetry,
  clickedEntry,
  drawList,
  isPending,
  scrollToTile,
  state,
  tiles,
} from "./entries.js";
import { copy, format } from "./messages.js";
import { mountOf } from "./mounts.js";
import { labelOf, resultElement } from "./result.js";

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

/* Receives "show" when an entry is shown, null for the start page, "change" when an entry has changed,
 * "correct" when the visitor has corrected one, and "kept" when one is stored. The entry is the event's
 * `detail`. */
export const events = new EventTarget();

export const dispatch = (type, entry) => events.dispatchEvent(new CustomEvent(type, { detail: entry }));

/* Announce a message to screen readers. */
export function announce(message) {
  status.textContent = message;
}

const OUTCOME_MS = 2000;

/* Return a function that writes the outcome of a click on a button for a moment, and announces it. */
export function outcomeWriter(button) {
  const label = button.textContent;
  return (outcome) => {
    button.focus(); // copying without the Clipboard API moves it
    button.textContent = outcome;
    announce(outcome);
    setTimeout(() => {
      button.textContent = label;
    }, OUTCOME_MS);
  };
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

function problemElement(entry) {
  const { title, detail } = entry.problem;
  const problem = copy("problem", { ".title": title, ".detail": detail });
  drawRetry(entry, problem);
  return problem;
}

/* Write on the button how many photos it sends again. */
function drawRetry({ problem }, parent = panel) {
  const button = parent.querySelector(".retry");
  const count = state.entries.filter(canRetry).length;
  button.hidden = !problem.retryable;
  if (count > 1) button.textContent = format("retry_all", { count });
}

function progressElement(entry) {
  const progress = copy("progress");
  drawProgress(entry, progress);
  return progress;
}

export function drawProgress({ isIdle, note, phase, share }, parent = panel) {
  parent.querySelector(".phase").textContent = phase;
  parent.querySelector(".note").textContent = note;
  const bar = parent.querySelector("progress");
  bar.hidden = isIdle;
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
    const isPreparing = entry === state.running && isPending(entry) && !entry.photos;
    if (!isPreparing) setMount(mountOf(entry));
    if (entry.result) {
      setPanel(resultElement(entry.result));
      title = `${labelOf(entry.result).text} · Petalscope`;
    } else if (entry.problem) {
      setPanel(problemElement(entry));
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
  dispatch("show", entry); // may add a step to the history
  if (entry?.result) markPlace(true);
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
  else {
    drawList();
    if (state.shown?.problem) drawRetry(state.shown);
  }
  dispatch("change", entry);
}
