/* Rendering of a POST /predict response, using the page's template elements and translated text. */

export const texts = JSON.parse(document.querySelector("main").dataset.texts);

export function copy(id, contents = {}) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  for (const [selector, text] of Object.entries(contents)) {
    element.querySelector(selector).textContent = text;
  }
  return element;
}

/* Return a message with its placeholders filled in. */
export const say = (key, values) => texts[key].replace(/{(\w+)}/g, (_, name) => values[name]);

export const decimal = (number) => number.toFixed(1).replace(".", texts.decimal);

/* Format a probability; same rules as `format_percent` in app/web/translations.py. */
export function percent(probability) {
  const written = (number) => say("percent", { number: decimal(number) });
  if (probability < 0.001) return say("less_than", { percent: written(0.1) });
  if (probability >= 0.9995) return say("more_than", { percent: written(99.9) });
  return written(probability * 100);
}

export const verdictText = (verdict) => document.getElementById(verdict).content.textContent;

const { lang } = document.documentElement;

const translatedNameOf = ({ translations }) => translations[lang]?.display_name;

/* Return the name in the page's language, or the English name if there is no translation. */
export const nameOf = (prediction) => translatedNameOf(prediction) ?? prediction.display_name;

export const languageOf = (prediction) => (translatedNameOf(prediction) ? lang : "en");

/* Replace the {name} placeholder that the server left in a property. */
export function fill(element, property, name) {
  element[property] = element[property].replace("{name}", () => name);
}

function setSearchTerm(link, parameter, term) {
  const url = new URL(link.href);
  url.searchParams.set(parameter, term);
  link.href = url;
}

/* Same markup as the macro `about` in templates/parts.html. */
function about({ name, scientific_name: scientificName }) {
  const element = copy("about");
  const wikipedia = element.querySelector(".wikipedia");
  setSearchTerm(wikipedia, "search", scientificName ?? name);
  if (scientificName) {
    const [taxon, cultivar] = scientificName.split(" '");
    element.querySelector("i").textContent = taxon;
    if (cultivar) element.querySelector(".latin").append(` ‘${cultivar.replace("'", "")}’`);
    setSearchTerm(element.querySelector(".gbif"), "q", taxon);
  } else {
    wikipedia.hostname = "en.wikipedia.org"; // common names in the data set are English
    for (const absent of element.querySelectorAll(".latin, .gbif")) absent.remove();
  }
  return element;
}

export function resultOf({ predictions, verdict }) {
  const result = copy("result", { ".kicker": verdictText(verdict) });
  result.classList.add(verdict);
  for (const [index, prediction] of predictions.entries()) {
    const { display_name: english, probability } = prediction;
    const name = nameOf(prediction);
    const row = copy("prediction", {
      ".name": name,
      ".english": english,
      ".percent": percent(probability),
    });
    row.querySelector(".name").lang = languageOf(prediction);
    if (name === english) row.querySelector(".english").remove();
    fill(row.querySelector(".unseen"), "textContent", name);
    row.querySelector(".name").setAttribute("href", prediction.url);
    row.querySelector("rect").setAttribute("width", `${(probability * 100).toFixed(2)}%`);
    if (index === 0) {
      row.querySelector("input").defaultChecked = true;
      row.querySelector(".bar").before(about(prediction));
    }
    result.querySelector("ol").append(row);
  }
  return result;
}
