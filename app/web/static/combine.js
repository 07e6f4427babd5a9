/* The mode that selects photos of one plant and combines them into one entry. */

import { announce, combinedMount, focusPanel } from "./display.js";
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
import { format, texts } from "./messages.js";
import { classifyEntries, newEntry } from "./queue.js";

/* Preselect the latest photos, which are most likely of one plant. */
combineButton.addEventListener("click", () => {
  state.selected = state.entries.filter(canCombine).slice(-maxCombined);
  drawList();
  const [{ tile }] = state.selected;
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

combineCancel.addEventListener("click", () => {
  state.selected = null;
  drawList();
  combineButton.focus();
});

combineNow.addEventListener("click", () => {
  const parts = state.entries.filter((entry) => state.selected.includes(entry));
  const entry = newEntry({
    parts,
    label: format("combined", { count: parts.length }),
    photos: parts.flatMap(({ photos }) => photos),
    thumbnail: parts[0].thumbnail,
    phase: texts.sending_combined,
    mount: combinedMount(parts),
  });
  entry.tile.querySelector("button").classList.add("combined");
  classifyEntries([entry]);
  focusPanel();
});
