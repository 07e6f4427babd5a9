/* The upload of photos to POST /predict, and the problem to show for a failed one. */

import { format, texts } from "./messages.js";

const SLOW_MS = 10_000;
export const TIMEOUT_MS = 30_000;

/* Words for the error page of a proxy, which has no code of the service. */
const PROXY_DETAILS = {
  413: "proxy_too_large",
  502: "proxy_unreachable",
  503: "proxy_unreachable",
  504: "proxy_timeout",
};

/* Send photos; resolve to {status, body, isTimedOut, retryAfter}, with status 0 on a network error.
 *
 * `onProgress` gets the fraction sent, 0 to 1, then null once the upload is complete. `onSlow` is
 * called 10 s after the last progress; after 30 s the request times out. `retryAfter` is the number
 * of seconds that a busy service asks to wait, or null. */
export function upload(photos, url, signal, { onProgress, onSlow }) {
  return new Promise((resolve) => {
    const form = new FormData();
    for (const photo of photos) form.append("image", photo);
    // XMLHttpRequest, because fetch reports no upload progress.
    const request = new XMLHttpRequest();
    let isTimedOut = false;
    let timers = [];
    const stopTimers = () => timers.forEach((timer) => clearTimeout(timer));
    const restartTimers = () => {
      stopTimers();
      const timeOut = () => {
        isTimedOut = true;
        request.abort();
      };
      timers = [setTimeout(onSlow, SLOW_MS), setTimeout(timeOut, TIMEOUT_MS)];
    };
    const progress = (share) => {
      restartTimers();
      onProgress(share);
    };
    request.open("POST", url);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / total));
    request.upload.addEventListener("load", () => progress(null));
    request.addEventListener("loadend", () => {
      stopTimers();
      const { status, response: body } = request;
      resolve({ status, body, isTimedOut, retryAfter: retryAfterOf(request) });
    });
    signal.addEventListener("abort", () => request.abort());
    restartTimers();
    request.send(form);
  });
}

/* Return the seconds of a busy response's Retry-After, which may also be a date; else null. */
function retryAfterOf(request) {
  const value = [429, 503].includes(request.status) && request.getResponseHeader("Retry-After");
  if (!value) return null;
  const date = Date.parse(value);
  const seconds = /^\d+$/.test(value) ? Number(value) : Math.ceil((date - Date.now()) / 1000);
  return Number.isNaN(seconds) ? null : Math.max(seconds, 1);
}

/* Return the problem to show for a response that has no result: {title, detail, retryable}. */
export function problemOf({ status, body, isTimedOut }) {
  const { titles, details } = texts;
  if (isTimedOut) {
    const detail = format("timeout_detail", { seconds: TIMEOUT_MS / 1000 });
    return { title: titles[504], detail, retryable: true };
  }
  if (status === 0) return { title: texts.unsent, detail: texts.unsent_detail, retryable: true };
  const code = body?.code;
  const isRefused = status >= 400 && status < 500 && ![408, 429].includes(status);
  // A proxy's 401 or 403 has other causes than the service's, so the service's titles mislead.
  const isTitled = code || status === 429 || status in PROXY_DETAILS;
  return {
    title: titles[code] ?? (isTitled ? titles[status] : null) ?? titles.other,
    detail: details[code] ?? body?.detail ?? proxyDetail(status, isRefused),
    retryable: !isRefused,
  };
}

function proxyDetail(status, isRefused) {
  if (status in PROXY_DETAILS) return texts[PROXY_DETAILS[status]];
  return isRefused ? format("proxy_refused", { status }) : texts.failed_detail;
}
