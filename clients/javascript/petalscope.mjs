/* Petalscope from JavaScript: one file without dependencies, for browsers and for Node 20 and newer.
 *
 *   import { Petalscope } from "./petalscope.mjs";
 *
 *   const petalscope = new Petalscope("http://localhost:8000");
 *   const { predictions, verdict } = await petalscope.predict(file, { topK: 3 });
 *
 * Where the service has no room (429) or is stopping (503), a request is sent again after as many
 * seconds as the service asks for. A refusal is thrown as PetalscopeError, a failure of the network
 * as fetch's own TypeError, and what `signal` ends as its reason. In a page of another origin the
 * service must let that origin in: PETALSCOPE_CORS_ORIGINS.
 */

const RETRIED = new Set([429, 503]);

/**
 * @typedef {object} Prediction
 * @property {string} class_id  Of the class, "18".
 * @property {string} name  Its common name as the data set spells it, "peruvian lily".
 * @property {string} display_name  As people write it, "Peruvian lily".
 * @property {number} probability  From 0 to 1.
 * @property {string | null} [scientific_name]  Where one is certain.
 * @property {string} url  Path of the flower's page.
 * @property {Record<string, { display_name: string | null }>} translations  In other languages, by
 *   their code, "de"; null where no name is certain.
 * @property {string} [activation_map]  Data URL of a transparent PNG to lay over the upright photo.
 *
 * @typedef {object} PhotoAnswer
 * @property {Prediction[]} predictions  The likeliest first.
 * @property {"known" | "unsure" | "unknown" | "unchecked"} verdict
 * @property {{ score: number, threshold: number, is_known: boolean } | null} ood  Out-of-distribution
 *   check; null if the verdict is "unchecked".
 *
 * @typedef {PhotoAnswer & AnswerMore} Answer
 *
 * @typedef {object} AnswerMore
 * @property {PhotoAnswer[]} [photos]  Of several photos, the answer to each alone, in their order.
 * @property {{ architecture: string, checkpoint: string, version: string }} model
 * @property {string} request_id  By which the service's log tells more.
 *
 * @typedef {object} Flower
 * @property {string} class_id
 * @property {string} name
 * @property {string} display_name
 * @property {string | null} scientific_name  As narrow as is certain.
 * @property {"species" | "genus" | "hybrid" | "cultivar" | "uncertain"} rank
 * @property {string | null} family
 * @property {string[]} synonyms
 * @property {string[]} other_names
 * @property {string} note
 * @property {Record<string, { display_name: string | null, other_names: string[], note: string }>}
 *   translations  The same in other languages, by their code, "de".
 * @property {string} url  Path of its page.
 */

/** The service refused, or could not do, what it was asked (RFC 9457). */
export class PetalscopeError extends Error {
  /**
   * @param {number} status  The HTTP status, 400 to 599.
   * @param {string} title  The status in words.
   * @param {string} detail  What was wrong and what would be right, for people.
   * @param {string | null} code  What was wrong, in one word that stays: "unsupported_format", …
   * @param {string | null} requestId  By which the service's log tells more.
   * @param {number | null} retryAfter  Seconds after which it may be tried again.
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

export class Petalscope {
  #address;
  #retries;
  #longestWait;
  #fetch;

  /**
   * @param {string} address  Of the service, such as "https://flowers.example.org".
   * @param {object} [options]
   * @param {number} [options.retries]  How often a request is sent again after 429 or 503.
   * @param {number} [options.longestWait]  Seconds; where the service asks for more, its refusal is
   *   thrown at once.
   * @param {typeof fetch} [options.fetch]  In place of the platform's own.
   */
  constructor(address, { retries = 3, longestWait = 30, fetch = globalThis.fetch } = {}) {
    this.#address = String(address).replace(/\/+$/, "");
    this.#retries = retries;
    this.#longestWait = longestWait;
    this.#fetch = fetch.bind(globalThis);
  }

  /**
   * Name the flower in a photo: JPEG, PNG, WebP, GIF, AVIF or BMP.
   *
   * @param {Blob | ArrayBuffer | ArrayBufferView} photo  A File of an input, bytes, a Buffer.
   * @param {object} [options]
   * @param {number} [options.topK]  How many names, 5 by default.
   * @param {boolean} [options.explain]  Whether each name gets its activation map.
   * @param {AbortSignal} [options.signal]  Ends it, waiting included.
   * @returns {Promise<Answer>}
   */
  predict(photo, { topK, explain, signal } = {}) {
    return this.#send("/predict", paramsOf(topK, explain), {
      method: "POST",
      body: photo,
      headers: { "Content-Type": "application/octet-stream" }, // the service looks for itself
      signal,
    });
  }

  /**
   * Name the one plant that several photos show, one to five; `photos` has the answer to each alone.
   *
   * @param {Iterable<Blob | ArrayBuffer | ArrayBufferView>} photos
   * @param {object} [options]  As of `predict`; maps come with the names of each photo.
   * @param {number} [options.topK]
   * @param {boolean} [options.explain]
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<Answer>}
   */
  combine(photos, { topK, explain, signal } = {}) {
    const body = new FormData();
    for (const photo of photos) body.append("image", new Blob([photo]), "photo");
    const params = { ...paramsOf(topK, explain), combine: 1 };
    return this.#send("/predict", params, { method: "POST", body, signal });
  }

  /**
   * List the flowers that the model knows, or those whose names `query` finds.
   *
   * @param {string} [query]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Flower[]>}
   */
  async flowers(query = "", { signal } = {}) {
    return (await this.#send("/flowers", query ? { q: query } : {}, { signal })).flowers;
  }

  /**
   * Tell what is known of one class.
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
   * Tell all that the checkpoint says about itself.
   *
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<object>}
   */
  model({ signal } = {}) {
    return this.#send("/model", {}, { signal });
  }

  async #send(path, params, init) {
    const query = new URLSearchParams(params).toString();
    const address = `${this.#address}${path}${query && `?${query}`}`;
    const headers = { Accept: "application/json", ...init.headers };
    for (let sent = 1; ; sent += 1) {
      const response = await this.#fetch(address, { ...init, headers });
      const asked = retryAfter(response);
      const wait = asked ?? 2 ** (sent - 1);
      if (!RETRIED.has(response.status) || sent > this.#retries || wait > this.#longestWait) {
        return checked(response, asked);
      }
      await response.body?.cancel(); // or the connection is kept from the next try
      await pause(wait, init.signal);
    }
  }
}

function paramsOf(topK, explain) {
  return { ...(topK !== undefined && { top_k: topK }), ...(explain && { explain: 1 }) };
}

async function checked(response, asked) {
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
    body?.detail ?? "The answer is none of Petalscope's.",
    body?.code ?? null,
    body?.request_id ?? null,
    asked,
  );
}

/* Retry-After: seconds, or the date until which to wait. */
function retryAfter(response) {
  const text = response.headers.get("Retry-After")?.trim();
  if (!text) return null;
  if (/^\d+$/.test(text)) return Number(text);
  const until = Date.parse(text);
  return Number.isNaN(until) ? null : Math.max(0, (until - Date.now()) / 1000);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const ended = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", ended);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", ended, { once: true });
  });
}
