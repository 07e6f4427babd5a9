/* A classification result, the response of POST /predict, as markup and as text. */

import { copy, fill, hyphenated, percent } from "./messages.js";
import { warningElement } from "./warning.js";

const { lang } = document.documentElement;

const translatedName = ({ translations }) => translations[lang]?.display_name;

/* Return the name in the page's language, else the scientific name, else the display name. */
export const nameOf = (prediction) =>
  translatedName(prediction) ?? latinName(prediction) ?? prediction.display_name;

const latinName = ({ scientific_name: scientificName }) => (lang === "en" ? null : scientificName);

/* A class outside the catalog has no translations, and the language of its name is not known. */
const inCatalog = ({ translations }) => Object.keys(translations).length > 0;

export function languageOf(prediction) {
  if (!inCatalog(prediction)) return "";
  if (translatedName(prediction)) return lang;
  return latinName(prediction) ? "la" : "en";
}

export const verdictText = (verdict) => document.getElementById(verdict).content.textContent;

function setSearchTerm(link, parameter, term) {
  const url = new URL(link.href);
  url.searchParams.set(parameter, term);
  link.href = url;
}

/* Same markup as the macro `about` in templates/parts.html. */
function aboutElement(prediction) {
  const { display_name: name, scientific_name: scientificName } = prediction;
  const element = copy("about");
  const wikipedia = element.querySelector(".wikipedia");
  setSearchTerm(wikipedia, "search", scientificName ?? name);
  if (scientificName) {
    const [taxon, cultivar] = scientificName.split(" '");
    element.querySelector("i").textContent = taxon;
    if (cultivar) element.querySelector(".latin").append(` ‘${cultivar.replace("'", "")}’`);
    setSearchTerm(element.querySelector(".gbif"), "q", taxon);
  } else {
    // Common names in the catalog are English.
    if (inCatalog(prediction)) wikipedia.hostname = "en.wikipedia.org";
    for (const absent of element.querySelectorAll(".latin, .gbif")) absent.remove();
  }
  return element;
}

function predictionElement(prediction) {
  const { display_name: english, probability } = prediction;
  const name = nameOf(prediction);
  const row = copy("prediction", {
    ".name": hyphenated(name),
    ".english": english,
    ".percent": percent(probability),
  });
  const link = row.querySelector(".name");
  link.lang = languageOf(prediction);
  link.setAttribute("href", prediction.url);
  if (name === english) row.querySelector(".english").remove();
  fill(row.querySelector(".unseen"), "textContent", name);
  row.querySelector("rect").setAttribute("width", `${(probability * 100).toFixed(2)}%`);
  return row;
}

export function resultElement({ predictions, verdict }) {
  const element = copy("result", { ".kicker": verdictText(verdict) });
  element.classList.add(verdict);
  const rows = predictions.map(predictionElement);
  rows[0].querySelector("input").defaultChecked = true;
  rows[0].querySelector(".bar").before(aboutElement(predictions[0]));
  element.querySelector("ol").append(...rows);
  const plants = predictions.map((prediction) => ({
    name: nameOf(prediction),
    language: languageOf(prediction),
    toxicity: prediction.toxicity,
  }));
  element.append(...warningElement(plants));
  return element;
}

/* Return the verdict, the best name and its probability, for screen readers. */
export const summaryOf = ({ predictions: [best], verdict }) =>
  `${verdictText(verdict)} ${nameOf(best)}, ${percent(best.probability)}`;

export function textOf({ predictions, verdict }) {
  const lines = predictions.map((prediction) => {
    const { scientific_name: scientificName, probability } = prediction;
    const latin = scientificName ? ` (${scientificName})` : "";
    return `${nameOf(prediction)}${latin}: ${percent(probability)}`;
  });
  return [verdictText(verdict), ...lines].join("\n");
}

/* Leaves out the heat maps, which are large data URLs. */
export const jsonOf = (result) =>
  JSON.stringify(result, (key, value) => (key === "activation_map" ? undefined : value), 2);
