/* Worker that runs the model, so that the page stays responsive.
 *
 * It receives {id, photo} and answers {id, result} or {id, problem}: a problem is {code, detail} of a
 * photo that cannot be identified, or null if the model cannot run. */

import { FlowerModel, PhotoError } from "./flower_model.js";
import { find, installed } from "./store.js";

let loading;

async function load() {
  const { files, options } = await installed();
  const [runtime, wasm, model] = await Promise.all([
    import(files.runtime.url),
    decompressed(await find(files.wasm.url)),
    (await find(files.model.url)).arrayBuffer(),
  ]);
  runtime.env.wasm.wasmBinary = wasm;
  return { model: await FlowerModel.load({ runtime, model }), options };
}

const decompressed = ({ body }) =>
  new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();

async function classify(photo) {
  const { model, options } = await (loading ??= load());
  return model.classify(photo, { ...options, activationMap: model.explains });
}

self.addEventListener("message", async ({ data: { id, photo } }) => {
  try {
    self.postMessage({ id, result: await classify(photo) });
  } catch (error) {
    const isPhoto = error instanceof PhotoError;
    self.postMessage({ id, problem: isPhoto ? { code: error.code, detail: error.message } : null });
  }
});
