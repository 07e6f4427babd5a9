/* The warning about poisonous plants among the names of a result. */

import { copy, texts } from "./messages.js";

const words = texts.toxicity;
const POISONOUS = ["mild", "severe"];

const fillIn = (message, values) => message.replace(/{(\w+)}/g, (_, name) => values[name]);

const isPoisonous = ({ toxicity }) =>
  toxicity && (POISONOUS.includes(toxicity.people) || POISONOUS.includes(toxicity.pets));

/* Return the warning as a list of no or one element; same markup as the macro `warning` in
 * templates/parts.html. */
export function warningElement(plants) {
  const poisonous = plants.filter(isPoisonous);
  if (poisonous.length === 0) return [];
  const element = copy("warning");
  const list = element.querySelector("ul");
  const row = list.firstElementChild;
  list.replaceChildren(...poisonous.map((plant) => rowElement(row, plant)));
  return [element];
}

function rowElement(template, { name, language, toxicity: { people, pets, parts } }) {
  const row = template.cloneNode(true);
  const title = row.querySelector("b");
  title.textContent = name;
  title.lang = language;
  row.querySelector(".effect").textContent =
    people === pets
      ? fillIn(words.effect_both, { level: words[people] })
      : fillIn(words.effect, { people: words[people], pets: words[pets] });
  const which = row.querySelector(".parts");
  if (parts.length === 0) which.remove();
  else {
    which.textContent = fillIn(words.which_parts, {
      parts: parts.map((part) => words[part]).join(texts.comma),
    });
  }
  return row;
}
