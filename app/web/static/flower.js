/* Shows the way back to visitors who came to a flower's page from their photo. */

const link = document.querySelector(".back");
const from = document.referrer && new URL(document.referrer);

if (from && from.origin === location.origin && from.pathname === new URL(link.href).pathname) {
  link.hidden = false;
  // The browser restores the page with its photos; opening the address would start anew.
  link.addEventListener("click", (event) => {
    if (history.length < 2) return; // opened in a new tab
    event.preventDefault();
    history.back();
  });
}
