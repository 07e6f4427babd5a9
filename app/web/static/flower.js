/* Shows the way back to visitors who came to a flower's page from their photo, directly or by way of
 * other flowers. */

const link = document.querySelector(".back");

/* Return the place in the history where the visitor's result is, if the browser can tell. */
function placeOfResult() {
  try {
    const key = sessionStorage.getItem("result");
    return key && window.navigation?.entries().find((entry) => entry.key === key);
  } catch {
    return null; // the browser blocks storage
  }
}

function cameFromStartPage() {
  const from = document.referrer && new URL(document.referrer);
  return from && from.origin === location.origin && from.pathname === new URL(link.href).pathname;
}

const place = placeOfResult();

if (place || cameFromStartPage()) {
  link.hidden = false;
  // The browser restores the page with its photos; opening the address would start without them.
  link.addEventListener("click", (event) => {
    if (!place && history.length < 2) return; // opened in a new tab
    event.preventDefault();
    if (place) navigation.traverseTo(place.key);
    else history.back();
  });
}
