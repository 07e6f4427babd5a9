/* A classification result, the response of POST /predict, as markup and as text. */

import { copy, fill, format, hyphenated, percent, texts } from "./messages.js";
import { warningElement } from "./warning.js";

const { lang } = document.documentElement;
const minShown = Number(document.querySelector("main").dataset.minShown);
const SIMILARITY_DECADES = 3;
const MIN_SIMILARITY = 0.04;

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

function setSearchTerm(link, parameter, term) {
  const url = new URL(link.href);
  url.searchParams.set(parameter, term);
  link.href = url;
}

/* Write a scientific name, a cultivar in quotes and upright; return it without the cultivar. */
export function fillLatin(element, scientificName) {
  const [taxon, cultivar] = scientificName.split(" '");
  element.querySelector("i").textContent = taxon;
  if (cultivar) element.append(` ‘${cultivar.replace("'", "")}’`);
  return taxon;
}

/* Fill in the links of the macro `about` in templates/parts.html. */
function fillAbout(element, prediction) {
  const { display_name: name, scientific_name: scientificName } = prediction;
  const wikipedia = element.querySelector(".wikipedia");
  setSearchTerm(wikipedia, "search", scientificName ?? name);
  if (scientificName) {
    const taxon = fillLatin(element.querySelector(".latin"), scientificName);
    setSearchTerm(element.querySelector(".gbif"), "q", taxon);
  } else {
    // Common names in the catalog are English.
    if (inCatalog(prediction)) wikipedia.hostname = "en.wikipedia.org";
    for (const absent of element.querySelectorAll(".latin, .gbif")) absent.remove();
  }
}

/* Return the length of a bar without percentage; same as `_similarity` in app/web/rendering.py. */
function similarity({ probability }, best) {
  if (probability === 0) return MIN_SIMILARITY;
  const decades = Math.log10(best.probability / probability);
  return Math.max(MIN_SIMILARITY, 1 - decades / SIMILARITY_DECADES);
}

/* Fill in the parts that rows, cards and the best name share. */
function fillPrediction(element, prediction, place, length) {
  const { display_name: english, probability } = prediction;
  const name = nameOf(prediction);
  const link = element.querySelector(".name");
  link.textContent = hyphenated(name);
  link.lang = languageOf(prediction);
  link.setAttribute("href", prediction.url);
  const other = element.querySelector(".english");
  if (name === english) other.remove();
  else other.textContent = english;
  const radio = element.querySelector("input");
  radio.value = place;
  radio.defaultChecked = place === 0;
  fill(element.querySelector(".unseen"), "textContent", name);
  const share = element.querySelector(".percent");
  if (share) share.textContent = percent(probability);
  element.querySelector("rect").setAttribute("width", `${(length * 100).toFixed(2)}%`);
}

/* Show a picture; remove `holder` if it cannot be loaded, as one that was replaced since. */
function showPicture(image, source, holder = image) {
  image.addEventListener("error", () => holder.remove());
  image.src = source;
}

/* Replace the rows of a list, which are copies of its first one. */
function fillList(list, predictions, first, lengthOf) {
  const row = list.firstElementChild;
  const isCard = list.matches(".cards");
  list.replaceChildren(
    ...predictions.map((prediction, index) => {
      const element = row.cloneNode(true);
      const image = element.querySelector(".picture");
      const { picture } = prediction;
      if (picture) showPicture(image, isCard ? picture.url : picture.thumbnail_url);
      else image.remove();
      fillPrediction(element, prediction, index + first, lengthOf(prediction));
      return element;
    }),
  );
}

const probabilityOf = ({ probability }) => probability;

/* Same markup as the macro `recognized` in templates/parts.html. */
function fillRecognized(element, [best, ...others]) {
  const first = element.querySelector(".best");
  fillAbout(first.querySelector(".about"), best);
  fillPrediction(first, best, 0, best.probability);
  const figure = element.querySelector(".compare");
  if (best.picture) {
    const image = figure.querySelector("img");
    const { height, url, width } = best.picture;
    Object.assign(image, { height, width });
    showPicture(image, url, figure);
    fill(image, "alt", nameOf(best));
  } else figure.remove();
  const details = element.querySelector(".unlikely");
  const shown = others.filter(({ probability }) => probability >= minShown);
  const unlikely = others.slice(shown.length);
  const list = element.querySelector("ol");
  if (shown.length > 0) fillList(list, shown, 1, probabilityOf);
  else list.remove();
  if (unlikely.length > 0) {
    const rest = details.querySelector("ol");
    rest.start = shown.length + 2;
    fillList(rest, unlikely, shown.length + 1, probabilityOf);
  } else details.remove();
}

/* The template of a verdict: a photo that was not checked looks like a known one. */
const templateOf = (verdict) => (verdict === "unchecked" ? "known" : verdict);

export function resultElement({ on_device: isOnDevice, predictions, verdict }) {
  const [best] = predictions;
  const element = copy(templateOf(verdict));
  element.className = `result ${verdict}`;
  const list = element.querySelector("ol");
  if (verdict === "unsure") {
    const name = element.querySelector("h1 span");
    name.textContent = hyphenated(nameOf(best));
    name.lang = languageOf(best);
    fillList(list, predictions, 0, probabilityOf);
  } else if (verdict === "unknown") {
    fillList(list, predictions, 0, (prediction) => similarity(prediction, best));
  } else fillRecognized(element, predictions);
  const plants = predictions.map((prediction) => ({
    name: nameOf(prediction),
    language: languageOf(prediction),
    toxicity: prediction.toxicity,
  }));
  element.append(...warningElement(plants));
  if (isOnDevice) {
    const note = document.createElement("span");
    note.className = "source";
    note.textContent = texts.on_device;
    element.querySelector("p.verdict, p.lead, .tips").append(" ", note);
  }
  return element;
}

/* Return true if the visitor agrees, also with a verdict that the flower is none of the classes. */
export const isConfirmed = ({ correction, verdict }) =>
  correction?.value === "right" ||
  (correction?.value === "other" && !correction.flower && verdict === "unknown");

/* Return the name that the visitor gave instead, and its language; null if they gave none. */
export function correctedName(result, spell = nameOf) {
  const { correction } = result;
  if (!correction || correction.value === "unsure" || isConfirmed(result)) return null;
  const { flower } = correction;
  return flower
    ? { name: spell(flower), language: languageOf(flower) }
    : { name: texts.something_else, language: lang };
}

/* Return a result in a few words, {text, language}: the name, "Camellia?" or "Unknown flower". */
export function labelOf(result, spell = nameOf) {
  const { predictions: [best], verdict } = result;
  const corrected = correctedName(result, spell);
  if (corrected) return { text: corrected.name, language: corrected.language };
  if (verdict === "unknown") return { text: texts.unknown_flower, language: lang };
  const name = spell(best);
  const isUnsure = verdict === "unsure" && !isConfirmed(result);
  const text = isUnsure ? format("unsure_name", { name }) : name;
  return { text, language: languageOf(best) };
}

/* Return the verdict in the page's words: {heading, lead}, such as "Looks like Camellia." and
 * "Compare before you trust it." */
function verdictOf({ predictions: [best], verdict }) {
  const { content } = document.getElementById(templateOf(verdict));
  const name = nameOf(best);
  const words = (selector) =>
    content.querySelector(selector).textContent.replace("{name}", () => name);
  return { heading: words("h1"), lead: words(".lead") };
}

/* Return a result as a heading and a line below it. */
function headingOf(result) {
  const { predictions: [best], verdict } = result;
  const corrected = correctedName(result);
  if (corrected) return [corrected.name, texts.corrected];
  const { heading, lead } = verdictOf(result);
  if (verdict === "unknown") return [heading, format("closest_name", { name: nameOf(best) })];
  if (verdict === "unsure") return [heading, lead];
  return [heading, format("most_likely_percent", { percent: percent(best.probability) })];
}

/* Return a heading, the line below it and a signature, for a picture to share. */
export function captionOf(result) {
  const signature = result.on_device ? `Petalscope · ${texts.on_device}` : "Petalscope";
  return [...headingOf(result), signature];
}

/* Return the verdict and the best name, for screen readers. */
export function summaryOf(result) {
  const { predictions: [best], verdict } = result;
  if (verdict === "unsure" || verdict === "unknown") return headingOf(result).join(" ");
  return format("most_likely_name", { name: nameOf(best), percent: percent(best.probability) });
}

/* Return the verdict and the names, without probabilities for an unknown flower. */
export function textOf(result) {
  const { predictions, verdict } = result;
  const { heading, lead } = verdictOf(result);
  const lines = predictions.map((prediction) => {
    const { scientific_name: scientificName, probability } = prediction;
    const latin = scientificName ? ` (${scientificName})` : "";
    const share = verdict === "unknown" ? "" : `${texts.colon}${percent(probability)}`;
    return `${nameOf(prediction)}${latin}${share}`;
  });
  const isNamed = verdict === "known" || verdict === "unchecked";
  const corrected = correctedName(result);
  return [
    ...(corrected ? [`${corrected.name} (${texts.corrected})`] : []),
    isNamed ? lead : `${heading} ${lead}`,
    ...lines,
    ...(result.on_device ? [texts.on_device] : []),
  ].join("\n");
}

// Heat maps are large data URLs. The correction is the visitor's, not the service's, and may have
// a deletion code.
const NOT_COPIED = ["activation_map", "correction"];

export const jsonOf = (result) =>
  JSON.stringify(result, (key, value) => (NOT_COPIED.includes(key) ? undefined : value), 2);
