/* JavaScript client for Petalscope, for browsers and Node 20 or newer.
 *
 * Copy this file into your project. It has no dependencies.
 *
 *   import { Petalscope } from "./petalscope.mjs";
 *
 *   const client = new Petalscope({ baseUrl: "http://localhost:8000" });
 *   const { predictions, verdict } = await client.predict(file, { topK: 3 });
 *
 * Errors of the service are thrown as PetalscopeError, network failures as fetch's TypeError, and an
 * aborted request as the reason of its signal. For pages of another origin, set
 * PETALSCOPE_CORS_ORIGINS on the service.
 */

const RETRY_STATUSES = new Set([429, 503]);

/**
 * @typedef {"unknown" | "none_known" | "mild" | "severe"} ToxicityLevel  "unknown": no source rates the
 *   plant, which does not mean that it is harmless; "none_known": sources list it as harmless.
 *
 * @typedef {object} Toxicity  Never decide from it what is safe to eat or touch.
 * @property {ToxicityLevel} people  For people.
 * @property {ToxicityLevel} pets  For cats and dogs.
 * @property {string[]} parts  Poisonous parts, such as "all" or "seeds"; may be empty.
 * @property {string[]} sources  Codes of the sources; the service's `/flowers` resolves them.
 *
 * @typedef {object} Picture
 * @property {string} url  Path of the picture.
 * @property {string} thumbnail_url  Path of a square cut from it, 128 pixels a side.
 * @property {number} width  Width in pixels.
 * @property {number} height  Height in pixels.
 *
 * @typedef {object} Credits  To show with a picture.
 * @property {string} title  What the picture shows.
 * @property {string} author  Painter or photographer.
 * @property {string} work  Book or collection.
 * @property {string} year  Year of publication.
 * @property {string} licence  Licence, such as "CC BY 4.0" or "Public domain".
 * @property {string | null} source  Address of the original.
 *
 * @typedef {object} Prediction
 * @property {string} class_id  Class ID, such as "18".
 * @property {string} name  Common name in the data set, such as "peruvian lily".
 * @property {string} display_name  Usual spelling of the common name, such as "Peruvian lily".
 * @property {number} probability  Probability from 0 to 1.
 * @property {string | null} [scientific_name]  Scientific name, or null if uncertain.
 * @property {Toxicity | null} [toxicity]  Null if the class is not in the service's catalog.
 * @property {string} url  Path of the flower's page.
 * @property {Picture | null} [picture]  Null if the service has none.
 * @property {Record<string, { display_name: string | null }>} translations  Names by language code,
 *   such as "de"; null if no name is certain.
 * @property {string} [activation_map]  Transparent PNG to lay over the upright photo, as a data URL.
 *
 * @typedef {object} PhotoResult
 * @property {Prediction[]} predictions  Predictions, most probable first.
 * @property {"known" | "unsure" | "unknown" | "unchecked"} verdict
 * @property {{ score: number, threshold: number, is_known: boolean } | null} ood  Out-of-distribution
 *   check; null if the verdict is "unchecked".
 *
 * @typedef {object} RequestDetails
 * @property {PhotoResult[]} [photos]  Result of each photo, in request order, from `combine`.
 * @property {{ architecture: string, checkpoint: string, version: string }} model
 * @property {string} request_id  Request ID; use it to find the log entry.
 *
 * @typedef {PhotoResult & RequestDetails} ClassificationResult
 *
 * @typedef {object} Flower
 * @property {string} class_id
 * @property {string} name
 * @property {string} display_name
 * @property {string | null} scientific_name  Scientific name, or null if uncertain.
 * @property {"species" | "genus" | "hybrid" | "cultivar" | "uncertain"} rank
 * @property {string | null} family
 * @property {string[]} synonyms
 * @property {string[]} [colours]  Colours of the flowers in the data set's photos.
 * @property {Toxicity | null} [toxicity]  Null if the class is not in the service's catalog.
 * @property {string[]} [look_alikes]  Class IDs, or scientific names of plants outside the data set.
 * @property {string[]} [sources]  Codes of the sources of the scientific name and the family.
 * @property {string[]} other_names
 * @property {string} note
 * @property {string} [features]  How the flower is recognized in a photo; may be empty.
 * @property {string} [toxicity_note]  May be empty.
 * @property {(Picture & Credits) | null} [picture]  Null if the service has none.
 * @property {Record<string, { display_name: string | null, other_names: string[], note: string,
 *   features: string, toxicity_note: string }>} translations  Names and sentences by language code,
 *   such as "de".
 * @property {string} url  Path of the flower's page.
 */

/** An error returned by the service (RFC 9457). */
export class PetalscopeError extends Error {
  /**
   * @param {number} status  HTTP status.
   * @param {string} title  Reason phrase of the status.
   * @param {string} detail  Cause and remedy, for people.
   * @param {string | null} code  Stable error code, such as "unsupported_format".
   * @param {string | null} requestId  Request ID; use it to find the log entry.
   * @param {number | null} retryAfter  Seconds to wait before a retry.
   */
  constructor(status, title, detail, code = null, requestId = null, retryAfter = null) {
    super(`${status} ${title}: ${detail}`);
    this.name = "PetalscopeError";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.code = code;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

/** Client of one Petalscope service. */
export class Petalscope {
  #baseUrl;
  #apiKey;
  #retries;
  #maxRetryWait;
  #fetch;

  /**
   * @param {object} options
   * @param {string} options.baseUrl  URL of the service, such as "https://flowers.example.org".
   * @param {string} [options.apiKey]  API key, sent as a bearer token.
   * @param {number} [options.retries]  Maximum retries after 429 and 503.
   * @param {number} [options.maxRetryWait]  Maximum seconds to wait before a retry. If the service
   *   asks for more, the error is thrown at once.
   * @param {typeof fetch} [options.fetch]  Replacement for the platform's fetch.
   */
  constructor({ baseUrl, apiKey, retries = 3, maxRetryWait = 30, fetch = globalThis.fetch }) {
    if (!baseUrl) throw new TypeError("baseUrl is missing; pass { baseUrl: \"https://…\" }");
    this.#baseUrl = String(baseUrl).replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#retries = retries;
    this.#maxRetryWait = maxRetryWait;
    this.#fetch = fetch.bind(globalThis);
  }

  /**
   * Name the flower in a photo: JPEG, PNG, WebP, GIF, AVIF or BMP.
   *
   * @param {Blob | ArrayBuffer | ArrayBufferView} photo  A File, a Blob, bytes or a Buffer.
   * @param {object} [options]
   * @param {number} [options.topK]  Number of predictions; 5 by default.
   * @param {boolean} [options.explain]  Add an activation map to each prediction.
   * @param {AbortSignal} [options.signal]  Aborts the request and any wait before a retry.
   * @returns {Promise<ClassificationResult>}
   */
  predict(photo, { topK, explain, signal } = {}) {
    return this.#send("/predict", paramsOf(topK, explain), {
      method: "POST",
      body: photo,
      headers: { "Content-Type": "application/octet-stream" }, // the service detects the format
      signal,
    });
  }

  /**
   * Name one plant shown in one to five photos; the result's `photos` has each photo's result.
   *
   * @param {Iterable<Blob | ArrayBuffer | ArrayBufferView>} photos
   * @param {object} [options]  As for `predict`; the activation maps are in `photos`.
   * @param {number} [options.topK]
   * @param {boolean} [options.explain]
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<ClassificationResult>}
   */
  combine(photos, { topK, explain, signal } = {}) {
    const body = new FormData();
    for (const photo of photos) body.append("image", new Blob([photo]), "photo");
    const params = { ...paramsOf(topK, explain), combine: 1 };
    return this.#send("/predict", params, { method: "POST", body, signal });
  }

  /**
   * List the flowers of the model, filtered by name in any language.
   *
   * @param {string} [query]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Flower[]>}
   */
  async flowers(query = "", { signal } = {}) {
    return (await this.#send("/flowers", query ? { q: query } : {}, { signal })).flowers;
  }

  /**
   * Return the catalog entry of one class.
   *
   * @param {string} classId
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Flower>}
   */
  flower(classId, { signal } = {}) {
    return this.#send(`/flowers/${encodeURIComponent(classId)}`, {}, { signal });
  }

  /**
   * List the classes in the order of the model's logits.
   *
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<{ class_id: string, name: string }[]>}
   */
  async labels({ signal } = {}) {
    return (await this.#send("/labels", {}, { signal })).labels;
  }

  /**
   * Return the metadata of the checkpoint.
   *
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<object>}
   */
  model({ signal } = {}) {
    return this.#send("/model", {}, { signal });
  }

  /**
   * Send what the user says about a result, if the service stores feedback.
   *
   * @param {string} requestId  `request_id` of the result.
   * @param {string} correction  Class ID of the right flower, or "right", "other" (none of the
   *   classes) or "unsure".
   * @param {object} [options]
   * @param {string} [options.predicted]  Class ID of the first prediction; required with "right".
   * @param {Blob | ArrayBuffer | ArrayBufferView} [options.photo]  The photo, if the user agreed that
   *   it is stored.
   * @param {boolean} [options.consent]  The user agreed; required with a photo.
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<{ deletion_code: string, has_photo: boolean }>}  Give the code to the user: it is
   *   needed for `deleteFeedback`.
   */
  sendFeedback(requestId, correction, { predicted, photo, consent = false, signal } = {}) {
    const body = new FormData();
    body.append("request_id", requestId);
    body.append("correction", correction);
    if (predicted !== undefined) body.append("predicted", predicted);
    if (consent) body.append("consent", "true");
    if (photo !== undefined) body.append("image", new Blob([photo]), "photo");
    return this.#send("/feedback", {}, { method: "POST", body, signal });
  }

  /**
   * Delete feedback and its photo.
   *
   * @param {string} deletionCode
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<void>}
   */
  async deleteFeedback(deletionCode, { signal } = {}) {
    const path = `/feedback/${encodeURIComponent(deletionCode)}`;
    await this.#send(path, {}, { method: "DELETE", signal });
  }

  async #send(path, params, init) {
    const query = new URLSearchParams(params).toString();
    const url = `${this.#baseUrl}${path}${query && `?${query}`}`;
    const headers = { Accept: "application/json", ...init.headers };
    if (this.#apiKey) headers.Authorization = `Bearer ${this.#apiKey}`;
    for (let attempt = 1; ; attempt += 1) {
      const response = await this.#fetch(url, { ...init, headers });
      const retryAfter = parseRetryAfter(response);
      const wait = retryAfter ?? 2 ** (attempt - 1);
      const mayRetry = RETRY_STATUSES.has(response.status) && attempt <= this.#retries;
      if (init.method === "DELETE" && response.status === 204) return {};
      if (!mayRetry || wait > this.#maxRetryWait) return parseJson(response, retryAfter);
      await response.body?.cancel(); // frees the connection for the retry
      await sleep(wait, init.signal);
    }
  }
}

function paramsOf(topK, explain) {
  return { ...(topK !== undefined && { top_k: topK }), ...(explain && { explain: 1 }) };
}

async function parseJson(response, retryAfter) {
  let body = null;
  try {
    body = JSON.parse(await response.text());
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const isObject = body !== null && typeof body === "object" && !Array.isArray(body);
  if (response.status === 200 && isObject) return body;
  throw new PetalscopeError(
    response.status,
    body?.title ?? response.statusText,
    body?.detail ?? "The response does not come from Petalscope; check baseUrl.",
    body?.code ?? null,
    body?.request_id ?? null,
    retryAfter,
  );
}

/* Return the seconds given by Retry-After, which holds seconds or an HTTP date. */
function parseRetryAfter(response) {
  const text = response.headers.get("Retry-After")?.trim();
  if (!text) return null;
  if (/^\d+$/.test(text)) return Number(text);
  const until = Date.parse(text);
  return Number.isNaN(until) ? null : Math.max(0, (until - Date.now()) / 1000);
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
