/* The upload of photos to POST /predict, and the message for a failed one. */

import { texts } from "./messages.js";

/* Send photos; resolve to {status, body}, with status 0 on a network error.
 *
 * `onProgress` gets the fraction sent, 0 to 1, then null once the upload is complete. */
export function upload(photos, url, signal, onProgress) {
  return new Promise((resolve) => {
    const form = new FormData();
    for (const photo of photos) form.append("image", photo);
    // XMLHttpRequest, because fetch reports no upload progress.
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(loaded / total));
    request.upload.addEventListener("load", () => onProgress(null));
    request.addEventListener("loadend", () => {
      resolve({ status: request.status, body: request.response });
    });
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/* Return the problem to show for a response that has no result: {title, detail, retryable}. */
export function problemOf({ status, body }) {
  if (status === 0) return { title: texts.unsent, detail: texts.unsent_detail, retryable: true };
  const { titles, details } = texts;
  return {
    title: titles[body?.code] ?? titles[status] ?? titles.other,
    detail: details[body?.code] ?? body?.detail ?? texts.failed_detail,
    retryable: status >= 500 || status === 429,
  };
}
