/* The pixels of a photo: upright, in sRGB, on a white background. */

import { ModelError, PhotoError } from "./errors.js";
import {
  acceptedFormat,
  isCut,
  jpegEndings,
  statedPixels,
  undecodableCode,
  webpOrientation,
} from "./photo_format.js";

export const DEFAULT_LIMITS = { maxPixels: 64_000_000, minSide: 16 }; // of model/imaging/limits.py

const PROBE = [40, 120, 200]; // a color that blocked canvases do not return
const PROBE_TOLERANCE = 16; // some browsers change single bits
const STRIP_PIXELS = 1_000_000; // compared at a time

function contextOf(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  if (!context) throw new RangeError("The canvas was not allocated.");
  context.imageSmoothingEnabled = false;
  return context;
}

/* True if this browser returns the pixels of a canvas; some replace them to prevent tracking. */
export function canReadPixels() {
  if (typeof OffscreenCanvas === "undefined") return false;
  const context = contextOf(4, 4);
  context.fillStyle = `rgb(${PROBE.join(" ")})`;
  context.fillRect(0, 0, 4, 4);
  const { data } = context.getImageData(0, 0, 4, 4);
  return data.every((value, i) => Math.abs(value - (PROBE[i % 4] ?? 255)) <= PROBE_TOLERANCE);
}

let readsPixels; // once known

function checkCanvas() {
  readsPixels ??= canReadPixels();
  if (!readsPixels) {
    throw new ModelError("pixels_unreadable", "The browser does not return a canvas's pixels.");
  }
}

/* Canvas transforms that turn an image of width w and height h by its EXIF orientation, from 1 on. */
const TURNS = [
  () => [1, 0, 0, 1, 0, 0],
  (w) => [-1, 0, 0, 1, w, 0],
  (w, h) => [-1, 0, 0, -1, w, h],
  (w, h) => [1, 0, 0, -1, 0, h],
  () => [0, 1, 1, 0, 0, 0],
  (w, h) => [0, 1, -1, 0, h, 0],
  (w, h) => [0, -1, -1, 0, h, w],
  (w) => [0, -1, 1, 0, 0, w],
];

/* Return a function that reads a part of a bitmap, once turned, as RGBA, composited on white. */
function bitmapReader(bitmap, orientation) {
  const [a, b, c, d, e, f] = TURNS[orientation - 1](bitmap.width, bitmap.height);
  let context; // of the previous part, which usually has the same size
  return (x, y, width, height) => {
    const { canvas } = context ?? {};
    if (canvas?.width !== width || canvas.height !== height) context = contextOf(width, height);
    context.resetTransform();
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.setTransform(a, b, c, d, e - x, f - y);
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height).data;
  };
}

/* Return a function that reads a part of pixels {width, data} as RGBA, composited on white. */
function pixelReader({ width: stride, data }) {
  return (x, y, width, height) => {
    const part = new Uint8ClampedArray(4 * width * height);
    for (let row = 0; row < height; row++) {
      const start = 4 * ((y + row) * stride + x);
      part.set(data.subarray(start, start + 4 * width), 4 * width * row);
    }
    for (let at = 0; at < part.length; at += 4) {
      const alpha = part[at + 3];
      if (alpha === 255) continue;
      for (let channel = at; channel < at + 3; channel++) {
        part[channel] = (part[channel] * alpha + 255 * (255 - alpha)) / 255;
      }
      part[at + 3] = 255;
    }
    return part;
  };
}

function checkPixels(pixels, { maxPixels }) {
  if (pixels <= maxPixels) return;
  throw new PhotoError(
    "too_many_pixels",
    `The photo has ${pixels} pixels; the limit is ${maxPixels}.`,
  );
}

/* Decode a file from its parts, without its type, which may be wrong. */
const bitmapOf = (...parts) =>
  createImageBitmap(new Blob(parts), { imageOrientation: "from-image" });

function isSame(one, other) {
  const [read, readOther] = [bitmapReader(one, 1), bitmapReader(other, 1)];
  const rows = Math.max(1, Math.floor(STRIP_PIXELS / one.width));
  for (let y = 0; y < one.height; y += rows) {
    const part = [0, y, one.width, Math.min(rows, one.height - y)];
    const pixels = readOther(...part);
    if (!read(...part).every((value, i) => value === pixels[i])) return false;
  }
  return true;
}

/* Decode a JPEG that lacks its end marker, if it has all pixels; phones write such files. */
async function decodeEndless([plain, noisy]) {
  if (!plain) throw new RangeError("The JPEG lacks scans.");
  const [bitmap, other] = await Promise.all([bitmapOf(...plain), bitmapOf(...noisy)]);
  const isComplete = isSame(bitmap, other);
  other.close();
  if (isComplete) return bitmap;
  bitmap.close();
  throw new RangeError("The JPEG lacks pixels.");
}

/* Decode a file; return {bitmap, orientation}, the EXIF orientation that is still to apply. */
async function decode(file, limits) {
  if (!file.size) throw new PhotoError("empty_photo", "The file is empty.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  checkPixels(statedPixels(bytes), limits);
  const endings = acceptedFormat(bytes) === "JPEG" ? jpegEndings(bytes) : null;
  const webp = webpOrientation(bytes);
  try {
    if (isCut(bytes)) throw new RangeError("The file lacks pixels.");
    const bitmap = await (endings ? decodeEndless(endings) : bitmapOf(webp?.bytes ?? bytes));
    return { bitmap, orientation: webp?.orientation ?? 1 };
  } catch (cause) {
    throw new PhotoError(undecodableCode(bytes), "The file cannot be decoded.", { cause });
  }
}

/* Open a photo: a Blob, an ImageBitmap or canvas, or pixels {width, height, data} in RGBA.
 *
 * Return {width, height, read, close}; read(x, y, width, height) returns the RGBA bytes of a part.
 * Throws PhotoError, ModelError with the code `pixels_unreadable`, or the error of a Blob that cannot be
 * read. */
export async function openPhoto(photo, limits) {
  const isFile = photo instanceof Blob;
  if (!photo.data) checkCanvas();
  const { bitmap, orientation } = isFile
    ? await decode(photo, limits)
    : { bitmap: photo, orientation: 1 };
  const close = () => isFile && bitmap.close();
  const sides = [bitmap.width, bitmap.height];
  const [width, height] = orientation > 4 ? sides.reverse() : sides;
  try {
    checkPixels(width * height, limits);
    if (Math.min(width, height) < limits.minSide) {
      throw new PhotoError(
        "too_small",
        `The photo is ${width}×${height} pixels; each side must have at least ${limits.minSide}.`,
      );
    }
  } catch (error) {
    close();
    throw error;
  }
  const read = bitmap.data ? pixelReader(bitmap) : bitmapReader(bitmap, orientation);
  return { width, height, close, read };
}
