/* The buttons that copy the result on display as text or JSON. */

import { announce } from "./display.js";
import { state } from "./entries.js";
import { texts } from "./messages.js";
import { jsonOf, textOf } from "./result.js";

const COPIED_MS = 2000;
const FORMATS = { text: textOf, json: jsonOf };

async function writeToClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The Clipboard API requires HTTPS.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    return isCopied;
  }
}

for (const button of document.querySelectorAll(".tools button")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const isCopied = await writeToClipboard(FORMATS[button.dataset.copies](state.shown.result));
    button.focus();
    button.textContent = isCopied ? texts.copied : texts.not_copied;
    announce(button.textContent);
    setTimeout(() => {
      button.textContent = label;
    }, COPIED_MS);
  });
}
