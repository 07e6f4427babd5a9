/* The visitor's choice to keep photos on this device, which kept_photos.js carries out. */

import { loadControls, state } from "./entries.js";

// Services at other paths of this host have a choice of their own.
export const NAME = `petalscope ${new URL("..", import.meta.url).pathname}`;

/* Return true if the visitor has turned keeping on, also before the photos are restored. */
export function isKeeping() {
  try {
    return localStorage.getItem(NAME) !== null;
  } catch {
    return false; // the browser blocks storage
  }
}

export const isKept = (entry) => state.keeps && entry.key !== undefined;

if (isKeeping()) loadControls();

// Another tab has turned keeping on.
window.addEventListener("storage", ({ key }) => {
  if (key === NAME && isKeeping()) loadControls();
});
