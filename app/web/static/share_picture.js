/* The picture to share: the photos of a result above its heading, the line below it and a signature. */

const WIDTH = 1080;
const MAX_PHOTO_HEIGHT = 1200;
const MARGIN = 56;
const QUALITY = 0.9;
const LINES = [
  { size: 64, leading: 1.15, colour: "--ink" },
  { size: 36, leading: 1.35, colour: "--soft" },
  { size: 28, leading: 2, colour: "--soft" },
];

/* Decode photos; leave out those that the browser cannot decode. */
async function decode(photos) {
  const decoded = await Promise.allSettled(
    photos.map((photo) => createImageBitmap(photo, { imageOrientation: "from-image" })),
  );
  return decoded.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
}

/* Return where to draw each photo, and their height: one photo in its own shape, several in squares. */
function arrange(bitmaps) {
  if (bitmaps.length === 0) return { cells: [], height: 0 };
  if (bitmaps.length === 1) {
    const [{ width, height }] = bitmaps;
    const tall = Math.min(MAX_PHOTO_HEIGHT, Math.round((WIDTH * height) / width));
    return { cells: [[0, 0, WIDTH, tall]], height: tall };
  }
  const columns = bitmaps.length <= 4 ? 2 : 3;
  const side = WIDTH / columns;
  const cells = bitmaps.map((_, index) => [
    (index % columns) * side,
    Math.floor(index / columns) * side,
    side,
    side,
  ]);
  return { cells, height: Math.ceil(bitmaps.length / columns) * side };
}

/* Draw a photo so that it covers a cell, cut at its longer sides. */
function drawCover(context, bitmap, [x, y, width, height]) {
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [seenWidth, seenHeight] = [width / scale, height / scale];
  context.drawImage(
    bitmap,
    (bitmap.width - seenWidth) / 2,
    (bitmap.height - seenHeight) / 2,
    seenWidth,
    seenHeight,
    x,
    y,
    width,
    height,
  );
}

/* Break a text into lines that fit, between words or else between letters. */
function wrap(context, text, width) {
  const fits = (line) => context.measureText(line.trimEnd()).width <= width;
  const pieces = text
    .split(/(?<=[\s-])/)
    .flatMap((word) => (fits(word) ? [word] : [...word]));
  const lines = [""];
  for (const piece of pieces) {
    const longer = lines.at(-1) + piece;
    if (fits(longer)) lines[lines.length - 1] = longer;
    else lines.push(piece);
  }
  return lines;
}

/* Compose a picture as a JPEG file. `caption` is a heading, the line below it and a signature.
 *
 * Throws if the browser has no memory for it. */
export async function composePicture(photos, caption, name) {
  const bitmaps = await decode(photos);
  const { cells, height } = arrange(bitmaps);
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const { fontFamily } = getComputedStyle(document.body);
  const setFont = ({ size }) => {
    context.font = `${size}px ${fontFamily}`;
  };
  const blocks = caption.map((text, index) => {
    setFont(LINES[index]);
    return { ...LINES[index], lines: wrap(context, text, WIDTH - 2 * MARGIN) };
  });
  const textHeight = blocks.reduce(
    (sum, { lines, size, leading }) => sum + lines.length * size * leading,
    0,
  );
  canvas.width = WIDTH;
  canvas.height = Math.ceil(height + textHeight + 2 * MARGIN);
  context.fillStyle = style.getPropertyValue("--sheet");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  bitmaps.forEach((bitmap, index) => {
    drawCover(context, bitmap, cells[index]);
    bitmap.close();
  });
  context.textBaseline = "middle";
  let y = height + MARGIN;
  for (const block of blocks) {
    setFont(block);
    context.fillStyle = style.getPropertyValue(block.colour);
    for (const line of block.lines) {
      const leading = block.size * block.leading;
      context.fillText(line, MARGIN, y + leading / 2);
      y += leading;
    }
  }
  const blob = await new Promise((resolve) => {
    canvas.toBlob(resolve, "image/jpeg", QUALITY);
  });
  if (!blob) throw new Error("The browser is out of memory.");
  return new File([blob], `${name}.jpg`, { type: "image/jpeg" });
}
