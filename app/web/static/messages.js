/* Messages and number formats in the page's language, and copies of its template elements.
 *
 * The server renders both into index.html: text from `languages/`, markup from parts.html. */

export const texts = JSON.parse(document.querySelector("main").dataset.texts);

/* Return a message with its placeholders filled in. */
export const format = (key, values) => texts[key].replace(/{(\w+)}/g, (_, name) => values[name]);

export const decimal = (number) => number.toFixed(1).replace(".", texts.decimal);

/* Format a probability; same rules as `format_percent` in app/web/translations.py. */
export function percent(probability) {
  const written = (number) => format("percent", { number: decimal(number) });
  if (probability < 0.001) return format("less_than", { percent: written(0.1) });
  if (probability >= 0.9995) return format("more_than", { percent: written(99.9) });
  return written(probability * 100);
}

/* Return a flower's name for display, with soft hyphens in long words. */
export const hyphenated = (name) =>
  Object.hasOwn(texts.hyphenated, name) ? texts.hyphenated[name] : name;

/* Return a copy of a template's element, with text set by selector. */
export function copy(id, contents = {}) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  for (const [selector, text] of Object.entries(contents)) {
    element.querySelector(selector).textContent = text;
  }
  return element;
}

/* Replace the {name} placeholder that the server left in a property. */
export function fill(element, property, name) {
  element[property] = element[property].replace("{name}", () => name);
}
