/* The mode that selects photos of one plant and combines them into one entry. */

import { announce } from "./display.js";
import {
  canCombine,
  clickedEntry,
  combineButton,
  combineCancel,
  combineNow,
  drawList,
  maxCombined,
  state,
  tiles,
} from "./entries.js";
import { format } from "./messages.js";
import { classifyEntries, newEntry, onEscape } from "./queue.js";

const topClass = ({ result }) => result.predictions[0].class_id;

/* Return the photos to preselect: those with the same name as the photo on display, or as the latest
 * one on the start page; else those chosen together with it. */
function likelyOfOnePlant() {
  const all = state.entries.filter(canCombine);
  const one = all.includes(state.shown) ? state.shown : all.at(-1);
  const alike = all.filter((entry) => topClass(entry) === topClass(one));
  const together = all.filter(({ choice }) => choice === one.choice);
  if (alike.length > 1) {
    const others = alike.filter((entry) => entry !== one);
    return [one, ...others.slice(1 - maxCombined)];
  }
  // A larger choice is unlikely to show only one plant.
  return together.length <= maxCombined ? together : [one];
}

combineButton.addEventListener("click", () => {
  state.selected = likelyOfOnePlant();
  drawList();
  const [{ tile }] = state.entries.filter((entry) => state.selected.includes(entry));
  tile.querySelector("button").focus({ preventScroll: true });
  tiles.scrollLeft = tile.offsetLeft;
});

tiles.addEventListener("click", (event) => {
  const { selected } = state;
  const entry = clickedEntry(event);
  if (!selected || !entry) return;
  state.selected = selected.includes(entry)
    ? selected.filter((other) => other !== entry)
    : [...selected, entry];
  drawList();
  announce(combineNow.textContent);
});

function leaveSelection() {
  state.selected = null;
  drawList();
  combineButton.focus();
}

combineCancel.addEventListener("click", leaveSelection);
onEscape(() => {
  if (state.selected) leaveSelection();
});

combineNow.addEventListener("click", () => {
  const parts = state.entries.filter((entry) => state.selected.includes(entry));
  const entry = newEntry({
    parts,
    label: format("combined", { count: parts.length }),
    photos: parts.flatMap(({ photos }) => photos),
    thumbnail: parts[0].thumbnail,
  });
  entry.tile.querySelector("button").classList.add("combined");
  classifyEntries([entry]);
});
