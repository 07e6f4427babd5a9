/* An answer of POST /predict -> its markup, from the page's template elements, and all that the
 * scripts say, in the language of the page. */

export const texts = JSON.parse(document.querySelector("main").dataset.texts);

export function copy(id, contents = {}) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  for (const [selector, text] of Object.entries(contents)) {
    element.querySelector(selector).textContent = text;
  }
  return element;
}

/* A message with its placeholders filled in. */
export const say = (key, values) => texts[key].replace(/{(\w+)}/g, (_, name) => values[name]);

export const decimal = (number) => number.toFixed(1).replace(".", texts.decimal);

/* As `percent` in app/web/translations.py writes it. */
export function percent(probability) {
  if (probability < 0.001) return `<\u00a0${decimal(0.1)}\u00a0%`;
  if (probability >= 0.9995) return `>\u00a0${decimal(99.9)}\u00a0%`;
  return `${decimal(probability * 100)}\u00a0%`;
}

export const verdictWords = (verdict) => document.getElementById(verdict).content.textContent;

const { lang } = document.documentElement;

const ownNameOf = ({ translations }) => translations[lang]?.display_name;

/* The name in the language of the page; the English one where none is certain. */
export const nameOf = (prediction) => ownNameOf(prediction) ?? prediction.display_name;

export const languageOf = (prediction) => (ownNameOf(prediction) ? lang : "en");

/* Put a name into words that the server wrote around its place. */
export function fill(element, property, name) {
  element[property] = element[property].replace("{name}", () => name);
}

function lookUp(link, parameter, term) {
  const address = new URL(link.href);
  address.searchParams.set(parameter, term);
  link.href = address;
}

/* As the macro `about` writes it. */
function about({ name, scientific_name: scientificName }) {
  const element = copy("about");
  const wikipedia = element.querySelector(".wikipedia");
  lookUp(wikipedia, "search", scientificName ?? name);
  if (scientificName) {
    const [taxon, cultivar] = scientificName.split(" '");
    element.querySelector("i").textContent = taxon;
    if (cultivar) element.querySelector(".latin").append(` ‘${cultivar.replace("'", "")}’`);
    lookUp(element.querySelector(".gbif"), "q", taxon);
  } else {
    wikipedia.hostname = "en.wikipedia.org"; // the data set's names are English
    for (const absent of element.querySelectorAll(".latin, .gbif")) absent.remove();
  }
  return element;
}

export function resultOf({ predictions, verdict }) {
  const result = copy("result", { ".kicker": verdictWords(verdict) });
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
