/* The dialog that sends a correction to the service, with or without the photo, and deletes it again.
 *
 * Loaded only if the service takes feedback. A sent correction has a `receipt`, the response of
 * POST /feedback. */

import { writeToClipboard } from "./clipboard.js";
import { answerOf } from "./correction.js";
import { events, outcomeWriter, refresh } from "./display.js";
import { state } from "./entries.js";
import { texts } from "./messages.js";
import { correctedName } from "./result.js";
import { problemOf, TIMEOUT_MS } from "./upload.js";

const answered = document.querySelector(".correction .answered");
const sendButton = answered.querySelector(".send");
const receiptButton = answered.querySelector(".receipt");

const dialog = document.getElementById("feedback-dialog");
const [problem, sending, receipt, deleted] = [".problem", ".sending", ".receipt", ".deleted"].map(
  (name) => dialog.querySelector(name),
);
const consent = sending.querySelector(".consent");
const agreed = consent.querySelector("input");
const copyButton = receipt.querySelector(".copy");

let entry; // the entry that the dialog is about

events.addEventListener("show", ({ detail: shown }) => {
  const correction = shown?.result?.correction;
  sendButton.hidden = !correction || Boolean(correction.receipt);
  receiptButton.hidden = !correction?.receipt;
});

// The visitor is already in a dialog when they name another flower.
events.addEventListener("correct", ({ detail: corrected }) => {
  if (correctedName(corrected.result)) open(corrected);
});
sendButton.addEventListener("click", () => open(state.shown));
receiptButton.addEventListener("click", () => open(state.shown));

function open(corrected) {
  entry = corrected;
  agreed.checked = false;
  consent.hidden = entry.photos.length !== 1; // feedback has one photo
  sending.querySelector(".answer").textContent = answerOf(entry.result);
  problem.hidden = deleted.hidden = true;
  draw();
  dialog.showModal();
}

function draw() {
  const sent = entry.result.correction?.receipt;
  sending.hidden = Boolean(sent) || !deleted.hidden;
  receipt.hidden = !sent;
  if (!sent) return;
  receipt.querySelector(".stored").hidden = sent.has_photo;
  receipt.querySelector(".stored-photo").hidden = !sent.has_photo;
  receipt.querySelector("code").textContent = sent.deletion_code;
}

/* Send a request; return whether it succeeded, and show the problem otherwise. */
async function request(url, options, buttons) {
  for (const button of buttons) button.disabled = true;
  problem.hidden = true;
  let status = 0;
  let body = null;
  let isTimedOut = false;
  try {
    const response = await fetch(url, {
      ...options,
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    status = response.status;
    body = await response.json().catch(() => null);
  } catch ({ name }) {
    isTimedOut = name === "TimeoutError"; // else the status stays 0, as for a network error of `upload`
  }
  for (const button of buttons) button.disabled = false;
  // A hotspot's login page has the status 200, but no JSON.
  if (status === 204 || (status === 200 && body)) return { body };
  const { title, detail } = problemOf({ status, body, isTimedOut });
  problem.querySelector(".title").textContent = title;
  problem.querySelector(".detail").textContent = detail;
  problem.hidden = false;
  return null;
}

const submit = sending.querySelector(".submit");
submit.addEventListener("click", async () => {
  const sent = entry;
  const { correction, predictions, request_id: requestId } = sent.result;
  const form = new FormData();
  form.append("request_id", requestId);
  form.append("predicted", predictions[0].class_id);
  form.append("correction", correction.value);
  if (agreed.checked && !consent.hidden) {
    form.append("consent", "true");
    form.append("image", sent.photos[0]);
  }
  const response = await request(dialog.dataset.url, { method: "POST", body: form }, [submit]);
  if (!response) return;
  correction.receipt = response.body;
  refresh(sent);
  draw();
  copyButton.focus();
});

const writeOutcome = outcomeWriter(copyButton);
copyButton.addEventListener("click", async () => {
  const isCopied = await writeToClipboard(entry.result.correction.receipt.deletion_code);
  writeOutcome(isCopied ? texts.copied : texts.not_copied);
});

const remove = receipt.querySelector(".delete");
remove.addEventListener("click", async () => {
  const { correction } = entry.result;
  const url = `${dialog.dataset.url}/${correction.receipt.deletion_code}`;
  if (!(await request(url, { method: "DELETE" }, [remove]))) return;
  delete correction.receipt;
  deleted.hidden = false;
  refresh(entry);
  draw();
  close.focus();
});

const close = dialog.querySelector(".close");
close.addEventListener("click", () => dialog.close());
