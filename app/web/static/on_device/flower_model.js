/* The flower classifier on the visitor's device: ONNX Runtime Web on the service's ONNX checkpoint.
 *
 * Independent of the page: without a DOM, so it also runs in a worker. Node and React Native have no
 * canvas; there, pass pixels instead of a file. */

import { overlay, toDataUrl } from "./activation_map.js";
import { resultOf } from "./calibration.js";
import { ModelError, PhotoError } from "./errors.js";
import { readMetadata } from "./onnx_metadata.js";
import { DEFAULT_LIMITS, openPhoto } from "./photo_pixels.js";
import { matchesReference, referencePhoto } from "./reference.js";
import { networkInput } from "./transform.js";

export { ModelError, PhotoError } from "./errors.js";
export { readMetadata } from "./onnx_metadata.js";
export { canReadPixels } from "./photo_pixels.js";

const LOGITS = "logits";
const ACTIVATIONS = "activations";
const BATCH = "n"; // name of the inputs' first dimension
const MAX_THREADS = 4; // more do not pay for a network of this size

/* Return `error` as a ModelError: `out_of_memory` if memory was lacking, else `code`. */
function modelError(error, code, message) {
  if (error instanceof ModelError) return error;
  // WebAssembly has no class of its own for it; std::bad_alloc is C++'s.
  const lacksMemory = error instanceof RangeError || /memory|alloc/i.test(error?.message ?? error);
  if (lacksMemory) {
    return new ModelError("out_of_memory", "The device has too little memory.", { cause: error });
  }
  return new ModelError(code, message, { cause: error });
}

export class FlowerModel {
  #runtime;
  #session;

  /* Use `FlowerModel.load`. */
  constructor(runtime, session, metadata) {
    this.#runtime = runtime;
    this.#session = session;
    /* The metadata in the file: `classes`, `transform`, `temperature`, `ood_rule` and more. */
    this.metadata = metadata;
  }

  /* Load a model, and check it with the reference image in its metadata.
   *
   * `runtime` is the imported onnxruntime-web (or onnxruntime-react-native). Before the first load, set
   * `runtime.env.wasm.wasmBinary` to the bytes of the .wasm file. `model` is the .onnx file, an
   * ArrayBuffer or Uint8Array. `threads` counts only in a cross-origin isolated page; elsewhere, the
   * model runs on one thread. `executionProviders` is ["cpu"] for onnxruntime-react-native.
   *
   * Throws ModelError. Its `code` is `invalid_model` if the file is damaged, is not Petalscope's or
   * gives other logits than its reference; `out_of_memory`; or `runtime_failed` if the runtime does
   * not start or cannot run the model. */
  static async load({
    runtime,
    model,
    threads = MAX_THREADS,
    executionProviders = ["wasm"],
  }) {
    const bytes = model instanceof Uint8Array ? model : new Uint8Array(model);
    const metadata = readMetadata(bytes);
    const cores = globalThis.navigator?.hardwareConcurrency ?? 1;
    runtime.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(threads, cores) : 1;
    let loaded;
    try {
      const session = await runtime.InferenceSession.create(bytes, {
        executionProviders,
        freeDimensionOverrides: { [BATCH]: 1 }, // folds what depends on it: a third less memory
        logSeverityLevel: 3, // errors
      });
      loaded = new FlowerModel(runtime, session, metadata);
      await loaded.#checkReference();
      return loaded;
    } catch (error) {
      await loaded?.release();
      throw modelError(error, "runtime_failed", "The model does not run in this browser.");
    }
  }

  /* True if the model has class activation maps. */
  get explains() {
    return this.#session.outputNames.includes(ACTIVATIONS);
  }

  /* Classify one photo: a Blob, an ImageBitmap or canvas, or pixels {width, height, data} in RGBA.
   *
   * `limits` is {maxPixels, minSide}; the defaults are the service's.
   *
   * Return {predictions: [{class_id, name, probability, activation_map?}], verdict, ood} as in the
   * response of POST /predict. `activation_map` is a transparent PNG as a data URL; it needs a canvas.
   *
   * Throws PhotoError, whose `code` is a problem code of the service: `empty_photo`, `damaged_photo`,
   * `unsupported_format`, `too_many_pixels`, `too_small`, `invalid_parameter`, `explain_unsupported`.
   * Throws ModelError with the code `out_of_memory`, `model_failed`, or `pixels_unreadable` if the
   * browser protects canvases; then the service can classify the photo. */
  async classify(photo, { topK = 5, activationMap = false, limits = {} } = {}) {
    const { classes, transform } = this.metadata;
    if (!Number.isInteger(topK) || topK < 1 || topK > classes.length) {
      throw new PhotoError("invalid_parameter", `topK must be from 1 to ${classes.length}.`);
    }
    if (activationMap && !this.explains) {
      throw new PhotoError("explain_unsupported", "This model has no class activation maps.");
    }
    const opened = await openPhoto(photo, { ...DEFAULT_LIMITS, ...limits });
    try {
      const names = activationMap ? [LOGITS, ACTIVATIONS] : [LOGITS];
      const [logits, maps] = await this.#run(networkInput(opened, transform), names);
      if (!logits.data.every(Number.isFinite)) {
        throw new ModelError("model_failed", "The model's logits are not finite.");
      }
      const result = resultOf(logits.data, this.metadata, topK);
      if (maps) await this.#explain(result.predictions, maps, opened);
      return result;
    } catch (error) {
      throw modelError(error, "model_failed", "The model failed.");
    } finally {
      opened.close();
    }
  }

  /* Free the memory of the model, which cannot classify afterwards. */
  async release() {
    await this.#session.release();
  }

  /* Run the model on the reference image and check its logits. */
  async #checkReference() {
    const { classes, transform, reference } = this.metadata;
    const [logits] = await this.#run(networkInput(referencePhoto(), transform), [LOGITS]);
    const isComplete = logits.data.length === classes.length;
    if (!isComplete || !matchesReference(logits.data, reference)) {
      throw new ModelError("invalid_model", "The model gives other logits than its reference.");
    }
  }

  /* Run the network on one input; return the outputs by their names. */
  async #run(input, names) {
    const { crop } = this.metadata.transform;
    const images = new this.#runtime.Tensor("uint8", input, [1, crop, crop, 3]);
    const outputs = await this.#session.run({ images }, names);
    return names.map((name) => outputs[name]);
  }

  /* Add the activation map of each prediction; the browser encodes them in parallel. */
  async #explain(predictions, { data, dims }, size) {
    const [, , rows, columns] = dims;
    const ids = this.metadata.classes.map((item) => item.class_id);
    const urls = predictions.map(({ class_id: id }) => {
      const start = ids.indexOf(id) * rows * columns;
      const map = data.subarray(start, start + rows * columns);
      return toDataUrl(overlay(map, columns, size, this.metadata.transform));
    });
    for (const [index, url] of (await Promise.all(urls)).entries()) {
      predictions[index].activation_map = url;
    }
  }
}
