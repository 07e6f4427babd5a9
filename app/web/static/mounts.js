/* The photos on the sheet, with their heat maps.
 *
 * A decoded photo takes about 5 MB and its heat maps up to 10 MB, so only those shown last are kept.
 * The others are made again when they are shown. */

import { copy, fill, format } from "./messages.js";
import { nameOf } from "./result.js";

const MAX_KEPT = 6;

const kept = new Map(); // entry -> element; the one shown last is at the end

/* Return the element of an entry's photo or photos; null if the browser cannot show it. */
export function mountOf(entry) {
  if (!entry.photos || entry.isUndecodable) return null;
  const mount = kept.get(entry) ?? (entry.parts ? combinedMount(entry) : photoMount(entry));
  kept.delete(entry);
  kept.set(entry, mount);
  if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
  if (entry.result && !mount.querySelector(".map")) addHeatMaps(mount, entry.result);
  return mount;
}

/* Release the photo of an entry that was removed from the list. */
export function releaseMount(entry) {
  kept.delete(entry);
  URL.revokeObjectURL(entry.url);
}

function photoMount(entry) {
  const mount = copy("photo");
  const photo = mount.querySelector(".photo");
  // The server may support a format that the browser does not.
  photo.addEventListener("error", () => {
    mount.remove();
    entry.isUndecodable = true;
  });
  photo.src = entry.url;
  return mount;
}

function combinedMount({ parts }) {
  const mount = copy("photo");
  const photos = parts.map(({ url }) => {
    const photo = mount.querySelector(".photo").cloneNode();
    photo.addEventListener("error", () => photo.remove());
    photo.src = url;
    return photo;
  });
  const note = copy("combined");
  note.textContent = format("combined_note", { count: parts.length });
  mount.classList.add("combined");
  mount.replaceChildren(...photos, note);
  return mount;
}

function addHeatMaps(mount, { predictions }) {
  for (const prediction of predictions) {
    const { activation_map: source } = prediction;
    if (!source) continue;
    const map = copy("map");
    map.src = source;
    fill(map, "alt", nameOf(prediction));
    mount.append(map);
  }
}
