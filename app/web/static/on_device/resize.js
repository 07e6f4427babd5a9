/* Antialiased resizing along one axis, with the values of the service's resizer.
 *
 * The filter is as wide as the reduction, unlike a canvas's. The weights are integers of 22 bits and
 * sums are rounded once per axis, as in Pillow. */

const PRECISION = 22; // bits
const HALF = 1 << (PRECISION - 1);

/* Keys' cubic kernel with a = -0.5. */
function bicubic(x) {
  const distance = Math.abs(x);
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * -0.5;
  return 0;
}

const bilinear = (x) => Math.max(0, 1 - Math.abs(x));

const FILTERS = { bicubic: [bicubic, 2], bilinear: [bilinear, 1] };

export const INTERPOLATIONS = Object.keys(FILTERS);

/* Return the weights of each output sample: {first, counts, weights, width}.
 *
 * `start` and `end` delimit the part of an axis of `length` samples; fractions are allowed. Output i
 * is the sum of weights[i * width + j] * input[first[i] + j] for the j below counts[i]. */
export function filterWeights(length, start, end, size, interpolation) {
  const [filter, radius] = FILTERS[interpolation];
  [start, end] = [Math.fround(start), Math.fround(end)]; // Pillow's box is float32
  const scale = Math.fround(end - start) / size;
  const stretch = Math.max(scale, 1);
  const support = radius * stretch;
  const inverse = 1 / stretch;
  const width = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(size);
  const counts = new Int32Array(size);
  const weights = new Float64Array(size * width);
  for (let i = 0; i < size; i++) {
    const center = start + (i + 0.5) * scale;
    first[i] = Math.max(0, Math.trunc(center - support + 0.5));
    counts[i] = Math.min(length, Math.trunc(center + support + 0.5)) - first[i];
    let sum = 0;
    for (let j = 0; j < counts[i]; j++) {
      const weight = filter((first[i] + j - center + 0.5) * inverse);
      weights[i * width + j] = weight;
      sum += weight;
    }
    for (let j = 0; sum && j < counts[i]; j++) weights[i * width + j] /= sum;
  }
  return { first, counts, weights, width };
}

/* Return `filterWeights` with integer weights, for 8-bit samples. */
export function integerWeights(...axis) {
  const filter = filterWeights(...axis);
  // Rounds halves away from zero.
  const weights = Int32Array.from(filter.weights, (weight) =>
    Math.trunc(weight * (1 << PRECISION) + (weight < 0 ? -0.5 : 0.5)),
  );
  return { ...filter, weights };
}

/* Resize rows of pixels to the columns of `filter`.
 *
 * `pixels` is RGBA, `columns` pixels a row, and starts at input column `offset` of the filter.
 * Writes RGB to `target` from row `row` on. The filter's sums fit into 32 bits. */
export function resizeRows(pixels, columns, offset, filter, target, row) {
  const { first, counts, weights, width } = filter;
  const rows = pixels.length / (4 * columns);
  let to = 3 * row * first.length;
  for (let y = 0; y < rows; y++) {
    for (let i = 0; i < first.length; i++) {
      let at = 4 * (y * columns + first[i] - offset);
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      const end = i * width + counts[i];
      for (let j = i * width; j < end; j++, at += 4) {
        const weight = weights[j];
        red = (red + weight * pixels[at]) | 0;
        green = (green + weight * pixels[at + 1]) | 0;
        blue = (blue + weight * pixels[at + 2]) | 0;
      }
      target[to++] = red >> PRECISION; // target is clamped
      target[to++] = green >> PRECISION;
      target[to++] = blue >> PRECISION;
    }
  }
}

/* Resize an image to the rows of `filter`: RGB of `columns` pixels a row, to RGB (clamped). */
export function resizeColumns(pixels, columns, filter) {
  const { first, counts, weights, width } = filter;
  const stride = 3 * columns;
  const result = new Uint8ClampedArray(stride * first.length);
  for (let i = 0; i < first.length; i++) {
    for (let x = 0; x < stride; x++) {
      let sum = HALF;
      for (let j = 0; j < counts[i]; j++) {
        sum = (sum + weights[i * width + j] * pixels[(first[i] + j) * stride + x]) | 0;
      }
      result[i * stride + x] = sum >> PRECISION;
    }
  }
  return result;
}
