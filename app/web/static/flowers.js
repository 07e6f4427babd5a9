/* Search as you type on the list of flowers; gives the same result as the server's search. */

const field = document.getElementById("q");
const count = document.querySelector(".count");
const { all, some } = count.dataset;

/* Same normalization as `_normalize` in app/catalog/flowers.py. */
const normalize = (text) =>
  text
    .toLowerCase()
    .replace(/ß/g, "ss")
    .normalize("NFKD")
    .replace(/[\p{M}'’]/gu, "")
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();

const flowers = [...document.querySelectorAll(".list li")].map((row) => ({
  row,
  text: ` ${normalize([...row.children].map((part) => part.textContent).join(" "))}`,
}));

function filter() {
  const words = normalize(field.value).split(" ");
  let found = 0;
  for (const { row, text } of flowers) {
    row.hidden = !words.every((word) => text.includes(` ${word}`));
    if (!row.hidden) found += 1;
  }
  count.textContent = field.value ? some.replace("{found}", found) : all;
  const url = new URL(location.href);
  if (field.value) url.searchParams.set("q", field.value);
  else url.searchParams.delete("q");
  history.replaceState(null, "", url);
}

field.addEventListener("input", filter);
field.form.addEventListener("submit", (event) => {
  event.preventDefault(); // the list is already filtered
  filter();
});
