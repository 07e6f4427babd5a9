/* Downloads that resume where they broke off, and whose SHA-256 is verified. */

const PART_BYTES = 2 ** 20;
const MOST_TRIES = 4;
const PAUSE_MS = 1000; // before the second try; longer before each further one
const STALL_MS = 30_000; // without a byte: phones that change networks keep dead connections

/* A file that arrived with another SHA-256, twice. */
export class DamagedError extends Error {
  name = "DamagedError";
}

const partUrl = ({ url }, index) => `${url}&part=${index}`;

const sizeOf = (blobs) => blobs.reduce((sum, { size }) => sum + size, 0);

async function storedParts(cache, file) {
  const blobs = [];
  for (;;) {
    const response = await cache.match(partUrl(file, blobs.length));
    if (!response) return blobs;
    blobs.push(await response.blob());
  }
}

async function discard(cache, file) {
  for (let index = 0; await cache.delete(partUrl(file, index)); index += 1);
}

async function sha256(blob) {
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

/* Call `work` with a signal that also aborts if `work` reports no progress for long.
 *
 * Throws what `work` throws, or a TypeError if it stalls. */
async function untilStalled({ signal, onProgress }, work) {
  signal.throwIfAborted();
  const controller = new AbortController();
  const stop = () => controller.abort(signal.reason);
  signal.addEventListener("abort", stop);
  let timer;
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(), STALL_MS);
  };
  restart();
  try {
    const report = (bytes) => {
      restart();
      onProgress(bytes);
    };
    return await work({ signal: controller.signal, onProgress: report });
  } catch (error) {
    if (controller.signal.aborted && !signal.aborted) throw new TypeError("stalled");
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

/* Request the bytes after those in `blobs`, and append them in parts, which are stored.
 *
 * Throws a TypeError if the network fails; what has arrived stays. */
async function receive(cache, file, blobs, { signal, onProgress }) {
  const headers = blobs.length > 0 ? { Range: `bytes=${sizeOf(blobs)}-` } : {};
  // The parts are the cache.
  const response = await fetch(file.url, { headers, signal, cache: "no-store" });
  if (!response.ok) throw new TypeError(String(response.status));
  if (blobs.length > 0 && response.status !== 206) {
    blobs.length = 0; // a proxy ignores ranges
    await discard(cache, file);
  }
  let chunks = [];
  let size = 0;
  async function store() {
    if (size === 0) return;
    const blob = new Blob(chunks);
    [chunks, size] = [[], 0];
    await cache.put(partUrl(file, blobs.length), new Response(blob));
    blobs.push(blob);
  }
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      size += value.length;
      onProgress(sizeOf(blobs) + size);
      if (size >= PART_BYTES) await store();
    }
  } finally {
    await store();
  }
}

/* Receive a whole file, in several tries if the network fails. */
async function receiveAll(cache, file, options) {
  const blobs = await storedParts(cache, file);
  options.onProgress(sizeOf(blobs));
  for (let tries = 1; sizeOf(blobs) < file.bytes; ) {
    const before = sizeOf(blobs);
    try {
      await untilStalled(options, (limited) => receive(cache, file, blobs, limited));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    if (sizeOf(blobs) > before) tries = 1;
    else if (tries === MOST_TRIES) throw new TypeError(file.url);
    else {
      await pause(PAUSE_MS * tries, options.signal);
      tries += 1;
    }
  }
  return new Blob(blobs, { type: file.type });
}

/* Download a file {url, type, bytes, sha256}; resolve to a Blob.
 *
 * `cache` stores the parts, which the next call continues. `onProgress` gets the number of bytes.
 * Throws a TypeError if the network fails, DamagedError, and what storage and `signal` throw. */
export async function download(cache, file, options) {
  for (let tries = 1; tries <= 2; tries += 1) {
    const blob = await receiveAll(cache, file, options);
    if ((await sha256(blob)) === file.sha256) return blob;
    await discard(cache, file);
  }
  throw new DamagedError(file.url);
}
