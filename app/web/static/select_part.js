/* Identification of a part of a photo, for small or off-center flowers and for several in one photo.
 *
 * The visitor selects a square; it becomes an entry of its own. */

import { announce, events, focusPanel, show } from "./display.js";
import { isPending, state } from "./entries.js";
import { texts } from "./messages.js";
import { cropSquare } from "./photo.js";
import { classifyEntries, newEntry } from "./queue.js";

const sheet = document.querySelector(".sheet");
const caption = sheet.querySelector(".caption");
const part = caption.querySelector(".part");
const tools = caption.querySelector(".frame-tools");
const [selectButton, wholeButton, againButton] = ["select", "whole", "again"].map((name) =>
  part.querySelector(`.${name}`),
);
const failed = part.querySelector(".failed");
const notCropped = failed.textContent;

let open = null; // the entry whose photo has a frame
let controller; // closes the frame

/* Return the entry of the whole photo; null for a whole photo, or if the visitor removed it. */
const wholeOf = ({ whole }) => (state.entries.includes(whole) ? whole : null);

/* Return the photo on the sheet; null if the browser cannot show it. */
const mountOnSheet = () => sheet.querySelector(".mount");

function canSelect(entry) {
  if (!entry || entry.parts || isPending(entry) || !mountOnSheet()) return false;
  return Boolean(entry.result || entry.whole);
}

function draw(entry) {
  const isOffered = canSelect(entry);
  const isPart = Boolean(entry?.whole);
  part.hidden = !isOffered || entry === open;
  failed.hidden = true;
  if (!isOffered) return;
  const whole = wholeOf(entry);
  for (const element of part.querySelectorAll(".of-photo")) element.hidden = isPart;
  for (const element of part.querySelectorAll(".of-part")) element.hidden = !isPart;
  wholeButton.hidden = againButton.hidden = !whole;
}

events.addEventListener("show", ({ detail: entry }) => {
  if (open && entry !== open) controller.abort();
  draw(entry);
});

/* Crop the original, or the photo that was sent if the browser can no longer read the original. */
async function crop({ file, photos }, square) {
  if (!file) return cropSquare(photos[0], square);
  try {
    return await cropSquare(file, square);
  } catch {
    return cropSquare(photos[0], square);
  }
}

function fail(message) {
  failed.textContent = message;
  failed.hidden = false;
  announce(message);
}

/* Let the visitor select a part of a photo and classify it; `first` is the square to start with. */
async function selectPart(whole, first) {
  const { selectSquare } = await import("./square_frame.js").catch(() => ({}));
  if (!selectSquare) {
    fail(texts.unsent);
    return;
  }
  const mount = mountOnSheet();
  const photo = mount?.querySelector(".photo");
  await photo?.decode().catch(() => {}); // before, the photo has no size
  if (whole !== state.shown || open || !photo?.naturalWidth) return;
  open = whole;
  controller = new AbortController();
  draw(whole);
  const square = await selectSquare(mount, tools, first, controller.signal);
  open = null;
  draw(state.shown);
  if (!square) {
    if (state.shown === whole) selectButton.focus({ preventScroll: true });
    return;
  }
  const file = await crop(whole, square).catch(() => null);
  if (!file) {
    fail(notCropped);
    return;
  }
  classifyEntries([newEntry({ file, label: whole.label, whole, square })]);
  focusPanel();
}

selectButton.addEventListener("click", () => selectPart(state.shown));
wholeButton.addEventListener("click", () => {
  show(wholeOf(state.shown));
  focusPanel();
});
againButton.addEventListener("click", () => {
  const { square } = state.shown;
  const whole = wholeOf(state.shown);
  show(whole);
  selectPart(whole, square);
});
