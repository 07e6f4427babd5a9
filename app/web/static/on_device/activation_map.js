/* Class activation maps as overlays for the photo, as `model/imaging/activation_map.py`. */

import { filterWeights } from "./resize.js";
import { roundHalfEven } from "./transform.js";

const COLOUR = [0, 255, 60];
const MAX_ALPHA = 200;
const DIM_ALPHA = 130; // of the black outside the visible square
const FEATHER = 0.08; // of the visible square: width of the soft edge
const LONGEST_SIDE = 320; // pixels

/* Return the positive part of a map, scaled to at most 1. */
export function evidence(activations) {
  const strongest = activations.reduce((one, other) => Math.max(one, other), 0);
  return Float64Array.from(activations, (value) =>
    strongest > 0 ? Math.max(value, 0) / strongest : 0,
  );
}

/* Resize the rows of a matrix to `size` columns and transpose it. */
function resizeAndTranspose(values, columns, size) {
  const { first, counts, weights, width } = filterWeights(columns, 0, columns, size, "bicubic");
  const rows = values.length / columns;
  const result = new Float64Array(rows * size);
  for (let i = 0; i < size; i++) {
    for (let y = 0; y < rows; y++) {
      let sum = 0;
      for (let j = 0; j < counts[i]; j++) {
        sum += weights[i * width + j] * values[y * columns + first[i] + j];
      }
      result[i * rows + y] = sum;
    }
  }
  return result;
}

/* Return how far each pixel of one axis is inside the centered `view`, 0 to 1. */
function fade(side, view) {
  const first = Math.floor((side - view) / 2);
  return Float64Array.from({ length: side }, (_, i) => {
    if (view >= side) return 1;
    const place = i - first + 0.5;
    const ramp = Math.min(place, view - place) / (FEATHER * view);
    const clipped = Math.min(1, Math.max(0, ramp));
    return clipped * clipped * (3 - 2 * clipped);
  });
}

/* Draw a class activation map as a transparent overlay: {width, height, data} in RGBA.
 *
 * `activations` has `columns` values a row; `photo` is {width, height} of the upright photo. */
export function overlay(activations, columns, photo, { resize, crop }) {
  const scale = LONGEST_SIDE / Math.max(photo.width, photo.height);
  const [width, height] = [photo.width, photo.height].map((side) =>
    Math.max(1, roundHalfEven(side * scale)),
  );
  const view = Math.max(1, roundHalfEven((Math.min(width, height) * crop) / resize));
  const [top, left] = [height, width].map((side) => Math.floor((side - view) / 2));
  const rows = activations.length / columns;
  const sideways = resizeAndTranspose(evidence(activations), columns, view);
  const strength = resizeAndTranspose(sideways, rows, view);
  const [across, down] = [fade(width, view), fade(height, view)];
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const seen = across[x] * down[y];
      const isInside = x >= left && x < left + view && y >= top && y < top + view;
      const value = isInside ? strength[(y - top) * view + x - left] : 0;
      const colour = (Math.min(1, Math.max(0, value)) * seen * MAX_ALPHA) / 255;
      const black = ((1 - seen) * DIM_ALPHA) / 255;
      const alpha = colour + black * (1 - colour); // colour over black
      const share = alpha > 0 ? colour / alpha : 1;
      const at = 4 * (y * width + x);
      for (let channel = 0; channel < 3; channel++) data[at + channel] = share * COLOUR[channel];
      data[at + 3] = alpha * 255;
    }
  }
  return { width, height, data };
}

/* Encode pixels {width, height, data} as the data URL of a PNG. */
export async function toDataUrl({ width, height, data }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  const png = await canvas.convertToBlob();
  const bytes = new Uint8Array(await png.arrayBuffer());
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return `data:image/png;base64,${btoa(text)}`;
}
