/* Petalscope's metadata in an ONNX file, which ONNX Runtime Web does not return. */

import { SCORE_NAMES } from "./calibration.js";
import { ModelError } from "./errors.js";
import { INTERPOLATIONS } from "./resize.js";

const FORMAT_VERSION = 2; // of model/checkpoint/metadata.py
const KEY = "petalscope";
// Protocol Buffers: field numbers of ModelProto and StringStringEntryProto in onnx.proto.
const METADATA_PROPS = 14;
const ENTRY_KEY = 1;
const ENTRY_VALUE = 2;
const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5];

/* Yield the fields of a message as [number, bytes]; numbers have no bytes. Throws if it is damaged. */
function* fieldsOf(message) {
  let at = 0;

  function varint() {
    let value = 0;
    for (let factor = 1; factor < 2 ** 63; factor *= 128) {
      if (at >= message.length) throw new RangeError("A number is truncated.");
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new RangeError("A number is too long.");
  }

  function take(length) {
    if (length > message.length - at) throw new RangeError("A field is truncated.");
    return message.subarray(at, (at += length));
  }

  while (at < message.length) {
    const tag = varint();
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (type === VARINT) varint();
    else if (type === FIXED64) take(8);
    else if (type === FIXED32) take(4);
    else if (type === BYTES) yield [number, take(varint())];
    else throw new RangeError("A field has an unknown type.");
  }
}

function findText(model) {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const [number, entry] of fieldsOf(new Uint8Array(model))) {
    if (number !== METADATA_PROPS) continue;
    const texts = Object.fromEntries(
      Array.from(fieldsOf(entry), ([field, bytes]) => [field, decoder.decode(bytes)]),
    );
    if (texts[ENTRY_KEY] === KEY) return texts[ENTRY_VALUE] ?? "";
  }
  throw new RangeError("There is no metadata.");
}

const isPositive = (number) => Number.isFinite(number) && number > 0;

/* Return the name of the first part of the metadata that this module cannot use; "" if there is none. */
function firstProblem(metadata) {
  const { classes, transform, temperature, ood_rule: rule } = metadata;
  const isNamed = (item) => typeof item?.class_id === "string" && typeof item.name === "string";
  if (!Array.isArray(classes) || !classes.length || !classes.every(isNamed)) return "classes";
  if (
    !Number.isInteger(transform?.crop) ||
    !Number.isInteger(transform.resize) ||
    transform.crop < 1 ||
    transform.resize < transform.crop ||
    !INTERPOLATIONS.includes(transform.interpolation)
  ) {
    return "transform";
  }
  if (!isPositive(temperature)) return "temperature";
  if (rule === null) return "";
  const adjustment = rule?.logit_adjustment ?? [];
  if (
    !SCORE_NAMES.includes(rule?.score) ||
    !Number.isFinite(rule.threshold) ||
    ![0, classes.length].includes(adjustment.length) ||
    !adjustment.every(Number.isFinite)
  ) {
    return "ood_rule";
  }
  return "";
}

/* Return the metadata of an ONNX file, an ArrayBuffer or Uint8Array.
 *
 * Throws ModelError with the code `invalid_model`: the file is damaged, or it is not Petalscope's. */
export function readMetadata(model) {
  let metadata;
  try {
    metadata = JSON.parse(findText(model));
  } catch (cause) {
    throw new ModelError("invalid_model", "The file has no metadata of Petalscope.", { cause });
  }
  if (metadata?.format_version !== FORMAT_VERSION) {
    throw new ModelError(
      "invalid_model",
      `The model's metadata has another format than ${FORMAT_VERSION}; use the code of its version.`,
    );
  }
  const problem = firstProblem(metadata);
  if (problem) throw new ModelError("invalid_model", `The model's ${problem} cannot be used.`);
  return metadata;
}
