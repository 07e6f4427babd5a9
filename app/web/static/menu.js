/* The menu of the result on display: copy it as text or JSON, and share or save a picture of it. */

import { writeToClipboard } from "./clipboard.js";
import { outcomeWriter } from "./display.js";
import { state } from "./entries.js";
import { texts } from "./messages.js";
import { captionOf, jsonOf, labelOf, textOf } from "./result.js";

const SAVE_MS = 2000; // until the browser has read the file
const menu = document.querySelector(".menu");
const summary = menu.querySelector("summary");

const copyAs = (format) => async () =>
  (await writeToClipboard(format(state.shown.result))) ? texts.copied : texts.not_copied;

const canShare = (file) => Boolean(navigator.canShare?.({ files: [file] }));

let composed = null; // {entry, file}: the file is a promise

async function compose({ photos, result }) {
  const { composePicture } = await import("./share_picture.js");
  const name = labelOf(result).text.replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  return composePicture(photos, captionOf(result), name);
}

/* Return the picture of the entry on display. It is composed once, when the menu opens, because
 * browsers share only shortly after a click. */
function pictureOfShown() {
  const entry = state.shown;
  if (composed?.entry !== entry) composed = { entry, file: compose(entry) };
  return composed.file;
}

async function share() {
  const { result } = state.shown;
  try {
    const file = await pictureOfShown();
    await navigator.share({ files: [file], title: labelOf(result).text, text: textOf(result) });
  } catch (error) {
    if (error.name !== "AbortError") return texts.not_shared; // else the visitor closed the dialog
  }
  return "";
}

async function save() {
  try {
    const file = await pictureOfShown();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), SAVE_MS);
    return texts.saved;
  } catch {
    return texts.not_saved;
  }
}

const ACTIONS = { share, save, text: copyAs(textOf), json: copyAs(jsonOf) };

for (const button of menu.querySelectorAll("[data-action]")) {
  const write = outcomeWriter(button);
  button.addEventListener("click", async () => {
    const outcome = await ACTIONS[button.dataset.action]();
    if (outcome) write(outcome);
  });
}

const canShareFiles = canShare(new File([""], "photo.jpg", { type: "image/jpeg" }));
menu.querySelector("[data-action=share]").hidden = !canShareFiles;
menu.querySelector("[data-action=save]").hidden = canShareFiles;

menu.addEventListener("toggle", () => {
  if (menu.open) {
    summary.nextElementSibling.scrollIntoView({ block: "nearest" });
    pictureOfShown().catch(() => {}); // reported when it is needed
  } else composed = null;
});

menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  event.stopPropagation(); // Escape closes only the menu
  menu.open = false;
  summary.focus();
});

document.addEventListener("click", ({ target }) => {
  if (!menu.contains(target)) menu.open = false;
});
