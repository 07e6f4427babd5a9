/* Identification of a photo on this device, as a response like that of POST /predict. */

import { notify, showNotice } from "../notice.js";
import { choice, KEY } from "./offer.js";
import { ready, sentence } from "./panel.js";
import { find } from "./store.js";

const TIMEOUT_MS = 60_000; // a model that hangs; slow phones need seconds for the first photo
const RUNNING = `${KEY} running`; // set while the model runs

// The system has ended this tab while the model ran, for lack of memory.
const hasCrashed = sessionStorage.getItem(RUNNING) !== null;

/* HTTP statuses of the problems that a photo has, by code; all others are 422. */
const STATUSES = { too_many_pixels: 413, unsupported_format: 415 };

let engine = null; // {version, ask, close, catalog} of the installation in use
let isBroken = false; // the model does not run here

/* The model cannot run on this device. */
class EngineError extends Error {}

/* Start the worker of an installation. */
function startEngine({ version, files }) {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const waiting = new Map(); // id -> {resolve, reject}
  const fail = () => {
    for (const { reject } of waiting.values()) reject(new EngineError());
  };
  worker.addEventListener("error", fail);
  worker.addEventListener("message", ({ data: { id, ...answer } }) => waiting.get(id)?.resolve(answer));
  const ask = (photo) => {
    const id = crypto.randomUUID();
    const timer = setTimeout(fail, TIMEOUT_MS);
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, photo });
    }).finally(() => {
      clearTimeout(timer);
      waiting.delete(id);
    });
  };
  return { version, ask, close: () => worker.terminate(), catalog: readCatalog(files.catalog) };
}

/* Return what the service adds to each prediction, by class. */
async function readCatalog({ url }) {
  const items = await (await find(url)).json();
  return new Map(items.map((item) => [item.class_id, item]));
}

/* Add the flowers' names and facts to a result, and mark where it comes from. */
function complete({ predictions, ...result }, catalog) {
  return {
    predictions: predictions.map((prediction) => {
      const facts = catalog.get(prediction.class_id);
      if (!facts) throw new EngineError();
      return { ...facts, ...prediction };
    }),
    ...result,
    request_id: `device-${crypto.randomUUID()}`, // feedback needs one
    on_device: true,
  };
}

/* Resolve to what `ask` does; the tab remembers if it ends before. */
async function marked(ask) {
  const clear = () => sessionStorage.removeItem(RUNNING);
  sessionStorage.setItem(RUNNING, "");
  window.addEventListener("pagehide", clear); // which a crash does not send
  try {
    return await ask();
  } finally {
    window.removeEventListener("pagehide", clear);
    clear();
  }
}

async function classify(photo, manifest) {
  if (hasCrashed) throw new EngineError();
  if (engine?.version !== manifest.version) {
    engine?.close();
    engine = startEngine(manifest);
  }
  const { problem, result } = await marked(() => engine.ask(photo));
  if (result) return { status: 200, body: complete(result, await engine.catalog) };
  if (!problem) throw new EngineError();
  return { status: STATUSES[problem.code] ?? 422, body: problem };
}

/* Identify a photo; resolve to {status, body, retryAfter}, or to null if the service has to.
 *
 * `onWait` gets the fraction downloaded while the visitor waits for it. */
export async function identify(photo, onWait) {
  if (isBroken) return null;
  try {
    const manifest = await ready(onWait);
    if (manifest) return { ...(await classify(photo, manifest)), retryAfter: null };
    if (choice() === "on") showNotice(sentence()); // the reason why the service gets the photo
  } catch {
    isBroken = true;
    engine?.close();
    notify("device_failed");
  }
  return null;
}
