/* The steps between the start page and the photos in the browser's history, and the warning before
 * the photos are lost. */

import { events, focusPanel, show } from "./display.js";
import { isPending, state } from "./entries.js";
import { isKept, isKeeping } from "./keeping.js";
import { notify } from "./notice.js";

const START = "start"; // values of history.state
const PHOTOS = "photos";

let lastShown = null;
let isReturning = false; // to the start page, after the only photo was cancelled

/* -- History --------------------------------------------------------------- */

// The page was loaded again: some phones do not warn before, and not every browser keeps a page to
// go back to.
if (history.state === PHOTOS && !isKeeping()) notify("lost");
history.replaceState(START, "");

events.addEventListener("show", ({ detail: entry }) => {
  if (entry !== null) {
    lastShown = entry;
    if (history.state !== PHOTOS) history.pushState(PHOTOS, "");
  } else if (history.state === PHOTOS && !isReturning) {
    isReturning = true;
    history.back();
  }
});

window.addEventListener("popstate", ({ state: step }) => {
  if (isReturning) {
    isReturning = false;
    // A photo may have been chosen meanwhile.
    if (state.shown) history.pushState(PHOTOS, "");
  } else if (step === START) {
    show(null);
  } else if (step === PHOTOS && state.entries.length > 0) {
    show(state.entries.includes(lastShown) ? lastShown : state.entries.at(-1));
  }
});

/* Return the same-tab link that an event follows, if any. */
function followedLink({ button, ctrlKey, metaKey, shiftKey, target }) {
  if (button !== 0 || ctrlKey || metaKey || shiftKey) return null;
  const link = target.closest("a[href]");
  return link && !link.target && !link.hasAttribute("download") ? link : null;
}

const leadsHere = ({ hash, origin, pathname, search }) =>
  origin === location.origin && pathname === location.pathname && !search && !hash;

/* Show the start page without loading it, so that the photos stay. */
document.addEventListener("click", (event) => {
  const link = followedLink(event);
  if (!link || !leadsHere(link) || state.entries.length === 0) return;
  event.preventDefault();
  if (history.state !== START) history.pushState(START, "");
  show(null);
  window.scrollTo({ top: 0 });
  focusPanel();
});

/* -- Warning ---------------------------------------------------------------- */

const warn = (event) => event.preventDefault();

const stopWarning = () => window.removeEventListener("beforeunload", warn);

/* Warn only while there is something to lose: with such a listener, some browsers do not keep the
 * page for the way back. */
function updateWarning() {
  const isAtRisk = state.entries.some(
    (entry) => isPending(entry) || (entry.result && !isKept(entry)),
  );
  if (isAtRisk) window.addEventListener("beforeunload", warn);
  else stopWarning();
}

for (const type of ["show", "change", "kept"]) events.addEventListener(type, updateWarning);
window.addEventListener("pageshow", updateWarning);

// A link to another page needs no warning, because the way back leads to the photos. A link to this
// page in another language does, and while photos are pending all do.
document.addEventListener("click", (event) => {
  const link = event.defaultPrevented ? null : followedLink(event);
  if (link && link.pathname !== location.pathname && !state.entries.some(isPending)) stopWarning();
});
