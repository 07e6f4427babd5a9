/* Search and filters as you type on the list of flowers.
 *
 * The script finds names with words that start like the typed ones or their singular, else families.
 * If there are none, it asks the server, which also finds similar words. */

const field = document.getElementById("q");
const { form } = field;
const count = document.querySelector(".count");
const { all, some } = count.dataset;
const PAUSE_MS = 200; // of typing, before the server is asked

const LIGATURES = { ß: "ss", œ: "oe", æ: "ae" };
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;

/* Same normalization as `normalize` in app/catalog/search.py. */
const normalize = (text) =>
  text
    .toLowerCase()
    .replace(/[ßœæ]/g, (letter) => LIGATURES[letter])
    .normalize("NFKD")
    .replace(/[\p{M}'’]/gu, "")
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();

const textOf = (parts) => ` ${normalize(parts.map((part) => part.textContent).join(" "))}`;

const flowers = [...document.querySelectorAll(".list li")].map((row) => ({
  row,
  id: row.dataset.id,
  family: row.dataset.family,
  colours: row.dataset.colours.split(" "),
  names: textOf([...row.children].filter((part) => !part.matches(".family"))),
  namesAndFamily: textOf([...row.children]),
}));
const sections = [...document.querySelectorAll(".letter")];
const letters = [...document.querySelectorAll(".letters a")];

/* Return a word and what it may be the plural of; same as `_forms` in app/catalog/search.py. */
function forms(word) {
  const singulars = [["ies", "y"], ["es", ""], ["s", ""], ["en", "e"]]
    .filter(([ending]) => word.endsWith(ending))
    .map(([ending, singular]) => word.slice(0, -ending.length) + singular);
  return [word, ...singulars.filter((form) => form.length >= 4)];
}

const chosen = (name) => form.elements[name]?.value ?? "";

/* Return a function that tells if each word of a query is in a flower's names; same as `search` in
 * app/catalog/search.py. */
function matcher(query) {
  const words = normalize(query).split(" ").map(forms);
  const isIn = (form, text) => text.includes(UNSPACED.test(form) ? form : ` ${form}`);
  const matches = (text) => words.every((word) => word.some((form) => isIn(form, text)));
  const key = flowers.some(({ names }) => matches(names)) ? "names" : "namesAndFamily";
  return (flower) => matches(flower[key]);
}

async function foundByServer(query) {
  const url = new URL(location.pathname, location.href);
  url.searchParams.set("q", query);
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  if (!response.ok) return [];
  return (await response.json()).flowers.map((flower) => flower.class_id);
}

function show(matches) {
  const [family, colour] = [chosen("family"), chosen("colour")];
  let found = 0;
  for (const flower of flowers) {
    const isShown =
      matches(flower) &&
      (!family || flower.family === family) &&
      (!colour || flower.colours.includes(colour));
    flower.row.hidden = !isShown;
    if (isShown) found += 1;
  }
  sections.forEach((section, index) => {
    section.hidden = !section.querySelector("li:not([hidden])");
    if (letters[index]) letters[index].hidden = section.hidden;
  });
  const isFiltered = field.value || family || colour;
  count.textContent = isFiltered ? some.replace("{found}", found) : all;
}

function setUrl() {
  const url = new URL(location.href);
  for (const name of ["q", "family", "colour"]) {
    if (chosen(name)) url.searchParams.set(name, chosen(name));
    else url.searchParams.delete(name);
  }
  history.replaceState(null, "", url);
}

let timer;

function filter() {
  clearTimeout(timer);
  setUrl();
  const query = field.value;
  const matches = matcher(query);
  if (flowers.some(matches)) {
    show(matches);
    return;
  }
  show(() => false);
  timer = setTimeout(async () => {
    const ids = await foundByServer(query).catch(() => []);
    if (field.value === query) show(({ id }) => ids.includes(id));
  }, PAUSE_MS);
}

form.addEventListener("input", filter);
form.addEventListener("submit", (event) => {
  event.preventDefault(); // the list is already filtered
  filter();
});
