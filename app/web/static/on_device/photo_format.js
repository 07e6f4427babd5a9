/* Structure of a photo's file, by the rules of `model/imaging`: format, size, ending, orientation. */

/* [offset, text] of the signatures that the service accepts, by format. */
const SIGNATURES = {
  JPEG: [[0, "\xff\xd8\xff"]],
  PNG: [[0, "\x89PNG"]],
  GIF: [[0, "GIF8"]],
  WebP: [[0, "RIFF"], [8, "WEBP"]],
  AVIF: [[0, "\0\0\0"], [4, "ftypavi"]],
  BMP: [[0, "BM"]],
};

const HEAD_BYTES = 16;
const CONVERTED_BYTES = 1024 * 1024;
const PNG_SIZE_AT = 16;
const APPLE_PNG = "CgBI"; // of iOS apps: with another compression and order of channels

const text = (bytes, start, end) => String.fromCharCode(...bytes.subarray(start, end));

/* Return the name of the accepted format whose signature the file starts with, or "".
 *
 * A file that is cut inside its signature counts. */
export function acceptedFormat(bytes) {
  const head = text(bytes, 0, HEAD_BYTES);
  const matches = ([at, signature]) => signature.startsWith(head.slice(at, at + signature.length));
  return Object.keys(SIGNATURES).find((name) => SIGNATURES[name].every(matches)) ?? "";
}

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const [START_OF_SCAN, END_OF_IMAGE] = [0xda, 0xd9];
const isFrame = (code) =>
  (code >= 0xc0 && code <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(code)) || code === 0xf7;

/* True for a marker without a length. */
const isBare = (code) => [0xc8, END_OF_IMAGE].includes(code) || (code >= 0xf0 && code <= 0xfd);

/* Yield the markers of a JPEG as [code, offset of the segment's length]. */
function* jpegMarkers(bytes) {
  const view = viewOf(bytes);
  let at = 2;
  let inScan = false;
  while ((at = bytes.indexOf(0xff, at)) >= 0 && at + 1 < bytes.length) {
    const code = bytes[at + 1];
    at += code === 0xff ? 1 : 2;
    // Padding, a byte of the pixels, or a restart of their decoder.
    if (code === 0xff || code <= 1 || (code >= 0xd0 && code <= 0xd8)) continue;
    yield [code, at];
    inScan ||= code === START_OF_SCAN;
    if (code === END_OF_IMAGE && inScan) return;
    if (!isBare(code) && at + 1 < bytes.length) at += view.getUint16(at);
  }
}

/* Return the frame header of a JPEG as {code, bits, width, height, components}, or null.
 *
 * `components` are their IDs. */
function jpegFrame(bytes) {
  for (const [code, at] of jpegMarkers(bytes)) {
    if (code === START_OF_SCAN) return null;
    if (!isFrame(code) || at + 8 > bytes.length) continue;
    const view = viewOf(bytes);
    const [height, width] = [view.getUint16(at + 3), view.getUint16(at + 5)];
    const components = Array.from({ length: bytes[at + 7] }, (_, i) => bytes[at + 8 + 3 * i]);
    return { code, bits: bytes[at + 2], width, height, components };
  }
  return null;
}

const NOISE = Uint8Array.from({ length: 254 }, (_, i) => ((i + 0xa4) % 254) + 1);
const RESTARTS = Array.from({ length: 8 }, (_, i) => [0xff, 0xd0 + i, ...NOISE]).flat();
// Continues a scan at any point, also at a restart.
const CONTINUATION = [...NOISE, ...RESTARTS];

/* True if the scans of a JPEG refine each coefficient of each component to its last bit. */
function hasEveryCoefficient(bytes, scans, { components }) {
  const sent = new Set();
  for (const at of scans) {
    const count = bytes[at + 2];
    const [first, last, bits] = bytes.subarray(at + 3 + 2 * count);
    if ((bits & 15) !== 0) continue;
    for (let i = 0; i < count; i++) {
      for (let place = first; place <= last; place++) sent.add(64 * bytes[at + 3 + 2 * i] + place);
    }
  }
  return components.every((id) =>
    Array.from({ length: 64 }).every((_, place) => sent.has(64 * id + place)),
  );
}

/* Return the files to decode instead of a JPEG without an end marker; null if it has one.
 *
 * If its pixels are complete, both files decode to the same; otherwise the second has noise where the
 * first is gray. The list is empty if it certainly lacks pixels. */
export function jpegEndings(bytes) {
  const markers = Array.from(jpegMarkers(bytes));
  if (markers.at(-1)?.[0] === END_OF_IMAGE) return null;
  const scans = markers.filter(([code]) => code === START_OF_SCAN).map(([, at]) => at);
  const frame = jpegFrame(bytes);
  if (!frame || !hasEveryCoefficient(bytes, scans, frame)) return [];
  let end = bytes.length;
  while (bytes[end - 1] === 0xff) end -= 1;
  if (bytes[end - 1] === 0 && bytes[end - 2] === 0) {
    // The decoder would read missing pixels from the padding. A scan can end in one zero.
    while (bytes[end - 1] === 0) end -= 1;
    end += 1;
  }
  const body = bytes.subarray(0, end);
  const marker = Uint8Array.of(0xff, END_OF_IMAGE);
  return [
    [body, marker],
    [body, Uint8Array.from(CONTINUATION), marker],
  ];
}

/* Return the orientation in a block of EXIF (TIFF), 1 to 8; 1 if there is none. */
function exifOrientation(block) {
  const start = text(block, 0, 4) === "Exif" ? 6 : 0;
  const view = viewOf(block.subarray(start));
  const isLittle = text(block, start, start + 2) === "II";
  try {
    const first = view.getUint32(4, isLittle);
    for (let i = 0; i < view.getUint16(first, isLittle); i++) {
      const entry = first + 2 + 12 * i;
      if (view.getUint16(entry, isLittle) !== 0x0112) continue;
      const value = view.getUint16(entry + 8, isLittle);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch {
    // A damaged block is ignored, as the service does.
  }
  return 1;
}

/* Return {orientation, bytes} of a WebP, whose bytes then lack the orientation; null if it has none.
 *
 * Only some browsers turn a WebP. */
export function webpOrientation(bytes) {
  if (acceptedFormat(bytes) !== "WebP") return null;
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [name, size] = [text(bytes, at, at + 4), view.getUint32(at + 4, true)];
    if (name === "EXIF") {
      const orientation = exifOrientation(bytes.subarray(at + 8, at + 8 + size));
      const plain = bytes.slice();
      plain.fill(0x20, at, at + 4); // decoders skip chunks of unknown names
      return { orientation, bytes: plain };
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/* Return the number of pixels that the header of a JPEG or PNG states; 0 if unknown. */
export function statedPixels(bytes) {
  const format = acceptedFormat(bytes);
  if (format === "JPEG") {
    const frame = jpegFrame(bytes);
    return frame ? frame.width * frame.height : 0;
  }
  if (format !== "PNG" || bytes.length < PNG_SIZE_AT + 8) return 0;
  const view = viewOf(bytes);
  return view.getUint32(PNG_SIZE_AT) * view.getUint32(PNG_SIZE_AT + 4);
}

/* Return where the pixels of a PNG end, by the lengths of its chunks; Infinity if they do not start. */
function pngEnd(bytes, view) {
  let at = 8;
  let end = Infinity;
  while (at + 8 <= bytes.length) {
    const dataEnd = at + 8 + view.getUint32(at);
    if (text(bytes, at + 4, at + 8) === "IDAT") end = dataEnd;
    at = dataEnd + 4;
  }
  return end;
}

/* Return where the pixels of the first frame of a GIF end, by the lengths of its blocks. */
function gifEnd(bytes) {
  const tableBytes = (flags) => (flags & 128 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let at = 13 + tableBytes(bytes[10]);
  while (at < bytes.length) {
    const isImage = bytes[at] === 0x2c;
    if (!isImage && bytes[at] !== 0x21) return at;
    at += isImage ? 11 + tableBytes(bytes[at + 9]) : 2;
    while (bytes[at]) at += 1 + bytes[at];
    if (isImage) return at;
    at += 1;
  }
  return at;
}

/* Return where the pixels of a BMP end; 0 if they are compressed. */
function bmpEnd(view) {
  const isOld = view.getUint32(14, true) === 12; // of OS/2
  const [width, height, bits] = isOld
    ? [view.getUint16(18, true), view.getUint16(20, true), view.getUint16(24, true)]
    : [view.getInt32(18, true), view.getInt32(22, true), view.getUint16(28, true)];
  if (!isOld && ![0, 3].includes(view.getUint32(30, true))) return 0;
  const rowBytes = 4 * Math.ceil((width * bits) / 32);
  return view.getUint32(10, true) + rowBytes * Math.abs(height);
}

/* True for a PNG, GIF or BMP that ends before its pixels do: Firefox decodes such a file. */
export function isCut(bytes) {
  const view = viewOf(bytes);
  try {
    switch (acceptedFormat(bytes)) {
      case "PNG":
        return pngEnd(bytes, view) > bytes.length;
      case "GIF":
        return gifEnd(bytes) > bytes.length;
      case "BMP":
        return bmpEnd(view) > bytes.length;
      default:
        return false;
    }
  } catch {
    return true; // inside the header
  }
}

/* True for a valid kind of JPEG or PNG that the service does not decode. */
function isUnsupportedVariant(bytes, format) {
  if (format === "PNG") return text(bytes, 12, 16) === APPLE_PNG;
  if (format !== "JPEG") return false;
  const frame = jpegFrame(bytes);
  // Lossless, hierarchical, or of 12 bits.
  return frame !== null && (![0xc0, 0xc1, 0xc2, 0xc9, 0xca].includes(frame.code) || frame.bits > 8);
}

/* True for binary data after a conversion to UTF-8, or to ASCII with question marks. */
function wasConverted(bytes) {
  const start = bytes.subarray(0, CONVERTED_BYTES);
  if (!start.includes(0)) return false;
  if (start[0] !== 0x3f && start.every((byte) => byte < 128)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/* Return the service's problem code of a file that could not be decoded. */
export function undecodableCode(bytes) {
  const format = acceptedFormat(bytes);
  if (isUnsupportedVariant(bytes, format)) return "unsupported_format";
  return format || wasConverted(bytes) ? "damaged_photo" : "unsupported_format";
}
