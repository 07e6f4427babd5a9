/* "Was this right?": the visitor confirms or corrects the name of a result.
 *
 * The correction changes the tile, a note above the names and the copied text. It stays on this page,
 * unless the visitor sends it; see send_feedback.js. A result's `correction` is {value, flower}: the
 * value of `correction` in POST /feedback, and the flower of a class or of a typed name. */

import { announce, dispatch, events, refresh } from "./display.js";
import { state } from "./entries.js";
import { copy, format, texts } from "./messages.js";
import { correctedName, fillLatin, isConfirmed, languageOf, nameOf } from "./result.js";

const TYPING_MS = 200; // pause before the search
const MOST_FOUND = 8;

const section = document.querySelector(".correction");
const [question, answered] = [".ask", ".answered"].map((name) => section.querySelector(name));
const change = answered.querySelector(".change");
const dialog = document.getElementById("correction-dialog");
const field = dialog.querySelector("input");
const found = dialog.querySelector(".found");
const choices = dialog.querySelector(".choices");
const other = dialog.querySelector(".other");

/* Return the answer to "Was this right?" as a sentence. */
export function answerOf(result) {
  const { correction, predictions, verdict } = result;
  if (correction.value === "unsure") return texts.answer_unsure;
  if (!isConfirmed(result)) return format("answer_wrong", { name: correctedName(result).name });
  if (verdict === "unknown") return texts.answer_none;
  return format("answer_right", { name: nameOf(predictions[0]) });
}

events.addEventListener("show", ({ detail: entry }) => {
  const result = entry?.result;
  section.hidden = !result;
  if (!result) return;
  const { correction } = result;
  // "Yes" to the verdict that it is none of the classes does not mean the closest one.
  const isUnknown = result.verdict === "unknown";
  question.querySelector("[data-answer=right]").hidden = isUnknown;
  question.querySelector("[data-answer=other]").hidden = !isUnknown;
  question.hidden = Boolean(correction);
  answered.hidden = !correction;
  if (!correction) return;
  answered.querySelector(".answer").textContent = answerOf(result);
  change.hidden = Boolean(correction.receipt); // the visitor deletes what they sent first
  const given = correctedName(result);
  if (!given) return;
  const note = copy("corrected");
  const name = note.querySelector("b");
  name.textContent = given.name;
  name.lang = given.language;
  document.querySelector("#panel .result").prepend(note);
});

function correct(entry, correction) {
  entry.result.correction = correction;
  refresh(entry);
  announce(answerOf(entry.result));
  change.focus();
  // For send_feedback.js, which offers to send it.
  dispatch("correct", entry);
}

question.addEventListener("click", ({ target }) => {
  const { answer } = target.closest("button")?.dataset ?? {};
  if (answer === "wrong") choose(state.shown);
  else if (answer) correct(state.shown, { value: answer });
});
change.addEventListener("click", () => {
  const entry = state.shown;
  delete entry.result.correction;
  refresh(entry);
  question.querySelector("button:not([hidden])").focus();
});

/* -- The dialog -------------------------------------------------------------- */

let corrected; // the entry that the dialog is about
let timer;

function choose(entry) {
  corrected = entry;
  field.value = "";
  list(namesOf(entry.result)); // the right one is often among them
  dialog.showModal();
  field.focus();
}

function finish(correction) {
  dialog.close();
  correct(corrected, correction);
}

function list(flowers) {
  const items = flowers.slice(0, MOST_FOUND).map((flower) => {
    const { class_id, display_name, scientific_name, translations } = flower;
    const item = copy("choice", { ".name": nameOf(flower) });
    item.querySelector(".name").lang = languageOf(flower);
    const latin = item.querySelector(".latin");
    if (scientific_name && scientific_name !== nameOf(flower)) fillLatin(latin, scientific_name);
    else latin.remove();
    item.querySelector("button").addEventListener("click", () =>
      finish({ value: class_id, flower: { class_id, display_name, scientific_name, translations } }),
    );
    return item;
  });
  choices.replaceChildren(...items);
  found.textContent = "";
  nameOther();
}

function nameOther() {
  const typed = field.value.trim();
  other.textContent = typed ? format("other_name", { name: typed }) : texts.something_else;
}

/* Return the names of a result, without the one that the visitor has rejected. */
const namesOf = ({ predictions, verdict }) =>
  verdict === "unknown" ? predictions : predictions.slice(1);

async function search(query) {
  const url = new URL(dialog.dataset.flowers, location.href);
  url.searchParams.set("q", query);
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(response.status);
  return (await response.json()).flowers;
}

/* Search as the list of flowers does, forgiving plurals and typing errors. */
async function find() {
  const query = field.value.trim();
  let flowers = namesOf(corrected.result);
  let message = "";
  if (query) {
    try {
      flowers = await search(query);
    } catch {
      flowers = [];
      message = texts.unsent;
    }
  }
  if (field.value.trim() !== query) return; // the visitor has typed on
  list(flowers);
  const count = choices.children.length;
  found.textContent =
    message || (query && (count ? format("found", { count }) : texts.none_found));
}

field.addEventListener("input", () => {
  nameOther();
  clearTimeout(timer);
  timer = setTimeout(find, TYPING_MS);
});
other.addEventListener("click", () => {
  const name = field.value.trim();
  const flower = name && { display_name: name, scientific_name: null, translations: {} };
  finish({ value: "other", ...(flower && { flower }) });
});
dialog.addEventListener("keydown", (event) => {
  const buttons = [...choices.querySelectorAll("button"), other];
  const at = buttons.indexOf(document.activeElement);
  if (event.key === "ArrowDown") buttons[Math.min(at + 1, buttons.length - 1)].focus();
  else if (event.key === "ArrowUp") (buttons[at - 1] ?? field).focus();
  else return;
  event.preventDefault();
});
dialog.querySelector(".close").addEventListener("click", () => dialog.close());

// Rendered only if the service takes feedback.
if (document.getElementById("feedback-dialog")) import("./send_feedback.js").catch(() => {});
