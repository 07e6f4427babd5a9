/* Identification of a photo on this device, as a response like that of POST /predict. */

import { notify } from "../notice.js";
import { ready } from "./panel.js";
import { find } from "./store.js";

const TIMEOUT_MS = 60_000; // a model that hangs; slow phones need seconds for the first photo

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

async function classify(photo, manifest) {
  if (engine?.version !== manifest.version) {
    engine?.close();
    engine = startEngine(manifest);
  }
  const { problem, result } = await engine.ask(photo);
  if (result) return { status: 200, body: complete(result, await engine.catalog) };
  if (!problem) throw new EngineError();
  return { status: STATUSES[problem.code] ?? 422, body: problem };
}

/* Identify a photo; resolve to {status, body, retryAfter}, or to null if the service has to.
 *
 * `onWait` gets the fraction downloaded while the visitor waits for it. */
export async function identify(photo, onWait) {
  const manifest = isBroken ? null : await ready(onWait);
  if (!manifest) return null;
  try {
    return { ...(await classify(photo, manifest)), retryAfter: null };
  } catch {
    isBroken = true;
    engine?.close();
    notify("device_failed");
    return null;
  }
}
