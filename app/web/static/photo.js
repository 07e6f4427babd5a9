/* A chosen file -> what it is, by its first bytes -> the photo to send, and a small one to keep.
 *
 * A phone's photo has some 12 million pixels, and the model looks at 0.1: it is made smaller before
 * it is sent, so that a slow network does not make its owner wait. */

const LONGEST_SIDE = 1280;
const LEAST_SIDE = 400; // still more than the model's: a long strip is made less small
const QUALITY = 0.9;
const THUMBNAIL_SIDE = 128;

/* What the service takes. Anything else is sent as the JPEG that the browser may make of it. */
const TAKEN = /^(\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP|BM|.{4}ftyp.{0,40}avi[fs])/s;

/* What people send by mistake; all else is sent, and refused by the service. */
const OTHERS = [
  [/^%PDF/, "pdf"],
  [/^.{4}ftyp(hei|hev|mif1|msf1)/s, "heic"],
  [/^.{4}ftyp|^\x1a\x45\xdf\xa3|^RIFF.{4}AVI /s, "video"],
  [/^(II\*\0|MM\0\*)/, "raw"],
  [/^PK\x03\x04/, "zip"],
  [/^(\xef\xbb\xbf)?\s*(<[?!].*)?<svg/is, "svg"],
  [/^(\xef\xbb\xbf)?\s*<(!doctype )?html/i, "web"],
];

/* Tell what the file is where it is no photo for the service; "" where it is or may be one. */
async function otherKind(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 512).arrayBuffer()));
  if (TAKEN.test(start)) return "";
  return OTHERS.find(([pattern]) => pattern.test(start))?.[1] ?? "";
}

function drawn(source, width, height, x = 0, y = 0, drawnWidth = width, drawnHeight = height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind what is transparent, as the service has it
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, x, y, drawnWidth, drawnHeight);
  return canvas;
}

/* The middle of it, as a square. */
function thumbnailOf(bitmap) {
  const scale = THUMBNAIL_SIDE / Math.min(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const [x, y] = [(THUMBNAIL_SIDE - width) / 2, (THUMBNAIL_SIDE - height) / 2];
  const canvas = drawn(bitmap, THUMBNAIL_SIDE, THUMBNAIL_SIDE, x, y, width, height);
  return canvas.toDataURL("image/jpeg", 0.8);
}

async function smaller(bitmap, scale) {
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.round(side * scale));
  const canvas = drawn(bitmap, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

/* Make ready a file: {photo, thumbnail}, or {photo, thumbnail, other} where it is no photo.
 *
 * Throws where the file cannot be read. A photo that this browser cannot decode is sent as it is. */
export async function prepare(file) {
  const other = await otherKind(file);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return { photo: file, thumbnail: "", other };
  }
  const { width, height } = bitmap;
  const scale = Math.max(LONGEST_SIDE / Math.max(width, height), LEAST_SIDE / Math.min(width, height));
  let photo = file;
  if (scale < 1 || other) {
    const made = await smaller(bitmap, Math.min(1, scale));
    // Null from a browser that has no memory for it; larger where the photo was squeezed hard.
    if (made && (other || made.size < file.size)) photo = made;
  }
  const thumbnail = thumbnailOf(bitmap);
  bitmap.close();
  return { photo, thumbnail, other: photo === file ? other : "" };
}
