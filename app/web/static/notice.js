/* The notice above the panel, which is not about a photo. It stays until the next choice. */

import { texts } from "./messages.js";

const notice = document.getElementById("notice");

/* Show a message, which is read out too. */
export const notify = (key) => showNotice(texts[key]);

/* Show a sentence as `notify` does. */
export function showNotice(sentence) {
  notice.textContent = sentence;
  notice.hidden = false;
  notice.scrollIntoView({ block: "nearest" });
}

export function dismissNotice() {
  notice.hidden = true;
}
