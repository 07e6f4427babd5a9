/* Preparation of a chosen file: type detection by magic bytes, downscaling, a thumbnail, a crop.
 *
 * A phone photo has about 12 megapixels and the model uses about 0.1, so downscaling before the
 * upload saves time on slow networks. */

const MAX_SIDE = 1280;
const MIN_SIDE = 400; // above the model's input size; limits the downscaling of long strips
const QUALITY = 0.9;
const THUMBNAIL_SIDE = 128;

/* Formats the service accepts. Others are converted to JPEG if the browser can decode them. */
const ACCEPTED = /^(\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP|BM|.{4}ftyp.{0,40}avi[fs])/s;

/* Common mistakes, reported without an upload. The service rejects everything else. */
const REJECTED = [
  [/^%PDF/, "pdf"],
  [/^.{4}ftyp(hei|hev|mif1|msf1)/s, "heic"],
  [/^.{4}ftyp|^\x1a\x45\xdf\xa3|^RIFF.{4}AVI /s, "video"],
  [/^(II\*\0|MM\0\*)/, "raw"],
  [/^PK\x03\x04/, "zip"],
  [/^(\xef\xbb\xbf)?\s*(<[?!].*)?<svg/is, "svg"],
  [/^(\xef\xbb\xbf)?\s*<(!doctype )?html/i, "web"],
];

/* Return the kind of a file that is not an accepted photo; "" if it is, or may be, one. */
async function rejectedKind(file, heif) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 512).arrayBuffer()));
  if (ACCEPTED.test(start)) return "";
  const kind = REJECTED.find(([pattern]) => pattern.test(start))?.[1] ?? "";
  return heif && kind === "heic" ? "" : kind;
}

function draw(source, width, height, x = 0, y = 0, drawnWidth = width, drawnHeight = height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // background of transparent pixels, as on the server
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, x, y, drawnWidth, drawnHeight);
  return canvas;
}

/* Return a square center crop as a data URL. */
function thumbnailOf(bitmap) {
  const scale = THUMBNAIL_SIDE / Math.min(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const [x, y] = [(THUMBNAIL_SIDE - width) / 2, (THUMBNAIL_SIDE - height) / 2];
  const canvas = draw(bitmap, THUMBNAIL_SIDE, THUMBNAIL_SIDE, x, y, width, height);
  return canvas.toDataURL("image/jpeg", 0.8);
}

/* Encode a canvas as JPEG; resolve to null if the browser is out of memory. */
const toJpeg = (canvas) =>
  new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));

async function downscale(bitmap, scale) {
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.round(side * scale));
  return toJpeg(draw(bitmap, width, height));
}

/* Cut a square out of a photo, at most MAX_SIDE pixels wide, as a JPEG; null if out of memory.
 *
 * `square` is {x, y, side} in fractions of the upright photo: of its width, its height and its
 * shorter side. Throws if the file cannot be read or decoded. */
export async function cropSquare(file, square) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const { width, height } = bitmap;
  const cropped = square.side * Math.min(width, height);
  const side = Math.max(1, Math.round(Math.min(cropped, MAX_SIDE)));
  const scale = side / cropped;
  const [x, y] = [-square.x * width * scale, -square.y * height * scale];
  const canvas = draw(bitmap, side, side, x, y, width * scale, height * scale);
  bitmap.close();
  return toJpeg(canvas);
}

/* Prepare a file for upload: {photo, thumbnail, rejected}; `rejected` is a kind, or "" for a photo.
 *
 * `heif` is true if the service accepts HEIC, which most browsers cannot decode.
 * Throws if the file cannot be read. A photo that the browser cannot decode is sent unchanged. */
export async function prepare(file, heif) {
  const rejected = await rejectedKind(file, heif);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return { photo: file, thumbnail: "", rejected };
  }
  const { width, height } = bitmap;
  const scale = Math.max(MAX_SIDE / Math.max(width, height), MIN_SIDE / Math.min(width, height));
  let photo = file;
  if (scale < 1 || rejected) {
    const made = await downscale(bitmap, Math.min(1, scale));
    // Null if the browser is out of memory. May be larger if the original was strongly compressed.
    if (made && (rejected || made.size < file.size)) photo = made;
  }
  const thumbnail = thumbnailOf(bitmap);
  bitmap.close();
  return { photo, thumbnail, rejected: photo === file ? rejected : "" };
}
