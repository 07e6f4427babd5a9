/* The check of a loaded model by its reference logits, as `model/backends/reference.py`. */

const SIDE = 256;
const WAVES = [
  [3, 1, 0],
  [1, 4, 170],
  [2, -3, 340],
]; // of red, green and blue: x and y steps, phase
const MIN_DIFFERENCE = 1e-3;

/* Return the generated image as pixels {width, height, read} for `networkInput`. */
export function referencePhoto() {
  const triangle = (x, y, [across, down, phase]) => {
    const turn = (across * x + down * y + phase) % 510;
    return Math.abs((turn + 510) % 510 - 255);
  };
  const read = (left, top, width, height) => {
    const data = new Uint8ClampedArray(4 * width * height);
    for (let i = 0; i < width * height; i++) {
      const [x, y] = [left + (i % width), top + Math.floor(i / width)];
      data.set([...WAVES.map((wave) => triangle(x, y, wave)), 255], 4 * i);
    }
    return data;
  };
  return { width: SIDE, height: SIDE, read };
}

/* True if logits differ from the reference {logits, tolerance} by at most the tolerance. */
export function matchesReference(logits, reference) {
  if (!logits.every(Number.isFinite)) return false;
  if (!reference) return true;
  const expected = reference.logits;
  const range = Math.max(...expected) - Math.min(...expected);
  const allowed = Math.max(reference.tolerance * range, MIN_DIFFERENCE);
  return logits.every((logit, i) => Math.abs(logit - expected[i]) <= allowed);
}
