/* The evaluation transform: a photo to the network's input, as `model/imaging/transforms.py`. */

import { integerWeights, resizeColumns, resizeRows } from "./resize.js";

const MAX_ASPECT = 4; // pixels outside the central 4:1 never reach the crop
const REACH = 3; // of the wider filter around a pixel, plus one
const STRIP_PIXELS = 1_000_000; // read at a time: a whole photo of 50 megapixels has 200 MB

/* Round halves to even, as Python does. */
export function roundHalfEven(number) {
  const rounded = Math.round(number);
  return rounded - number === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/* Return the part of an image that the transform uses, and its size after resizing. */
function geometry(width, height, { resize, crop }) {
  const cut = Math.max(
    0,
    Math.floor((Math.max(width, height) - MAX_ASPECT * Math.min(width, height)) / 2),
  );
  const [x, y] = width > height ? [cut, 0] : [0, cut];
  [width, height] = [width - 2 * x, height - 2 * y];
  const size =
    width <= height
      ? [resize, Math.trunc((resize * height) / width)]
      : [Math.trunc((resize * width) / height), resize];
  const [left, top] = size.map((side) => roundHalfEven((side - crop) / 2));
  return { x, y, width, height, size, left, top };
}

/* Return the network's input of a photo: RGB, crop × crop × 3 bytes.
 *
 * `photo` is {width, height, read}; read(x, y, width, height) returns the RGBA bytes of a part.
 * `transform` is that of the model's metadata. */
export function networkInput(photo, transform) {
  const { crop, interpolation } = transform;
  const { x, y, width, height, size, left, top } = geometry(photo.width, photo.height, transform);
  const [across, down] = [width / size[0], height / size[1]];
  // Only the rows and columns that the filters reach around the crop.
  const reach = REACH * Math.max(1, down);
  const firstRow = Math.max(0, Math.floor(top * down - reach));
  const lastRow = Math.min(height, Math.ceil((top + crop) * down + reach));
  const rows = lastRow - firstRow;
  const horizontal = integerWeights(
    width,
    left * across,
    (left + crop) * across,
    crop,
    interpolation,
  );
  const firstColumn = horizontal.first[0];
  const columns = horizontal.first[crop - 1] + horizontal.counts[crop - 1] - firstColumn;
  const narrow = new Uint8ClampedArray(3 * crop * rows);
  const step = Math.max(1, Math.floor(STRIP_PIXELS / columns));
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row);
    const strip = photo.read(x + firstColumn, y + firstRow + row, columns, count);
    resizeRows(strip, columns, firstColumn, horizontal, narrow, row);
  }
  const vertical = integerWeights(
    rows,
    top * down - firstRow,
    (top + crop) * down - firstRow,
    crop,
    interpolation,
  );
  return new Uint8Array(resizeColumns(narrow, crop, vertical).buffer);
}
