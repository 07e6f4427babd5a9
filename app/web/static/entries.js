/* The photos classified on this page: their state, and the list that links to them.
 *
 * An entry is one photo, a part of one (`whole` is the entry of the photo), or several photos of one
 * plant combined (`parts`). It is pending until it has a `result` or a `problem`. Entries exist only in
 * this page's memory, unless the visitor has them kept; see kept_photos.js. */

import { format, hyphenated, texts } from "./messages.js";
import { releaseMount } from "./mounts.js";
import { correctedName, labelOf, nameOf } from "./result.js";

export const state = {
  entries: [], // oldest first
  waiting: [], // entries not yet started
  shown: null, // the entry on display; null for the start page
  previous: null, // the entry on display before the latest choice
  running: null, // the entry being classified
  selected: null, // entries selected for combining; null outside that mode
  keeps: false, // results are kept on this device
};

const list = document.querySelector(".entries");
export const tiles = list.querySelector("ol");
export const combineButton = list.querySelector(".combine");
export const combineNow = list.querySelector(".combine-now");
export const combineCancel = list.querySelector(".combine-cancel");
export const maxCombined = Number(document.querySelector("main").dataset.maxCombined);

const heading = list.querySelector("h2");
const headings = { list: heading.textContent, combining: heading.dataset.combining };

export const isPending = (entry) => entry !== null && !entry.result && !entry.problem;

/* Return the pending entries without the one on display, which has a Cancel button of its own. */
export const restOf = () =>
  state.entries.filter((entry) => isPending(entry) && entry !== state.shown);

export const canRetry = ({ problem }) => Boolean(problem?.retryable);

export const canCombine = (entry) => Boolean(entry.result && !entry.parts);

/* Return what the tile says below the name. */
function noteOf({ label, note, parts, problem, result, whole }) {
  if (!result) return problem ? "" : note;
  const notes = [
    parts && label,
    whole && texts.part,
    correctedName(result) && texts.corrected,
  ];
  return notes.filter(Boolean).join(" · ");
}

export function drawTile(entry) {
  const { tile, thumbnail, result, problem } = entry;
  const { selected, shown, waiting } = state;
  const image = tile.querySelector("img");
  image.hidden = !thumbnail;
  if (thumbnail && image.src !== thumbnail) image.src = thumbnail;
  const label = tile.querySelector(".label");
  const { text, language } = result
    ? labelOf(result, (best) => hyphenated(nameOf(best)))
    : { text: problem ? texts.not_named : entry.label, language: document.documentElement.lang };
  label.lang = language;
  label.textContent = text;
  tile.querySelector(".of").textContent = noteOf(entry);
  const button = tile.querySelector("button");
  button.classList.toggle("waiting", waiting.includes(entry));
  button.disabled = selected !== null && !canCombine(entry);
  button.ariaCurrent = entry === shown && !selected ? "true" : null;
  button.ariaPressed = selected && canCombine(entry) ? String(selected.includes(entry)) : null;
}

function drawHeader() {
  const { entries, selected } = state;
  list.querySelector(".cancel-rest").hidden = restOf().length === 0;
  const count = selected?.length;
  const isValid = count >= 2 && count <= maxCombined;
  const isOffered = !selected && !entries.some(isPending) && maxCombined >= 2;
  combineButton.hidden = !isOffered || entries.filter(canCombine).length < 2;
  combineCancel.hidden = combineNow.hidden = !selected;
  combineNow.disabled = !isValid;
  combineNow.textContent = isValid
    ? format("combine_now", { count })
    : format("combine_rule", { most: maxCombined });
  heading.textContent = selected ? headings.combining : headings.list;
}

export function drawList() {
  state.entries.forEach(drawTile);
  list.hidden = state.entries.length < (state.shown && !state.keeps ? 2 : 1);
  drawHeader();
}

export function scrollToTile({ tile }) {
  tiles.scrollLeft = tile.offsetLeft - (tiles.clientWidth - tile.clientWidth) / 2;
}

/* Return the entry whose button was clicked, if any. */
export function clickedEntry({ target }) {
  const button = target.closest("button:enabled");
  return state.entries.find(({ tile }) => tile.contains(button));
}

/* Load the controls of results and of the list. Without them, results are still shown. */
export const loadControls = () => import("./result_controls.js").catch(() => {});

/* Add an entry to the list: a part of a photo after the photo and its other parts. */
export function insertEntry(entry) {
  const { entries } = state;
  const { whole } = entry;
  const before = whole ? entries.findLastIndex((e) => e === whole || e.whole === whole) : -1;
  if (before < 0) {
    tiles.append(entry.tile);
    entries.push(entry);
  } else {
    entries[before].tile.after(entry.tile);
    entries.splice(before + 1, 0, entry);
  }
}

export function addEntries(entries) {
  for (const entry of entries) insertEntry(entry);
  state.waiting.push(...entries);
}

export function removeEntries(entries) {
  for (const entry of entries) {
    entry.tile.remove();
    releaseMount(entry);
  }
  const remain = (entry) => !entries.includes(entry);
  state.entries = state.entries.filter(remain);
  state.waiting = state.waiting.filter(remain);
  const canSelect = state.entries.filter(canCombine).length >= 2;
  state.selected = canSelect && state.selected ? state.selected.filter(remain) : null;
}
