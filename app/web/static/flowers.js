/* The search at once: what is typed -> the list, as the server would show it, and its address. */

const field = document.getElementById("q");
const count = document.querySelector(".count");
const { all, some } = count.dataset;

/* As `_plain` in app/catalog/flowers.py. */
const plain = (text) =>
  text
    .toLowerCase()
    .replace(/ß/g, "ss")
    .normalize("NFKD")
    .replace(/[\u0300-\u036f'’]/g, "")
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();

const flowers = [...document.querySelectorAll(".list li")].map((row) => ({
  row,
  text: ` ${plain([...row.children].map((part) => part.textContent).join(" "))}`,
}));

function filter() {
  const words = plain(field.value).split(" ");
  let found = 0;
  for (const { row, text } of flowers) {
    row.hidden = !words.every((word) => text.includes(` ${word}`));
    if (!row.hidden) found += 1;
  }
  count.textContent = field.value ? some.replace("{found}", found) : all;
  const address = new URL(location.href);
  if (field.value) address.searchParams.set("q", field.value);
  else address.searchParams.delete("q");
  history.replaceState(null, "", address);
}

field.addEventListener("input", filter);
field.form.addEventListener("submit", (event) => {
  event.preventDefault(); // it is filtered already
  filter();
});
