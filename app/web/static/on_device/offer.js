/* The offer to identify photos on this device, and the visitor's choice.
 *
 * The other modules of this folder load only once it is accepted. */

// Services at other paths of this host have a choice of their own.
export const KEY = `petalscope ${new URL("../..", import.meta.url).pathname} on-device`;

export const section = document.querySelector(".on-device"); // null if the service offers nothing

const isSupported =
  window.isSecureContext &&
  "serviceWorker" in navigator &&
  ["caches", "DecompressionStream", "WebAssembly", "Worker"].every((name) => name in window);

/* Return "on", "off", or null for a visitor who has not chosen. */
export function choice() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return "off"; // the browser blocks storage
  }
}

export const choose = (value) => localStorage.setItem(KEY, value);

// The default is no reason to download megabytes if the visitor saves data.
const defaultChoice = navigator.connection?.saveData ? "off" : section?.dataset.default;

/* Return true if photos are identified on this device, or will be after the download. */
export const isOn = () =>
  section !== null && isSupported && (choice() ?? defaultChoice) === "on";

if (section && isSupported) {
  section.hidden = false;
  const load = () => import("./panel.js");
  if (isOn()) load().catch(() => {}); // without the panel, the offer stays
  else {
    const state = section.querySelector(".state");
    const fail = () => {
      state.textContent = JSON.parse(section.dataset.texts).failed;
    };
    section
      .querySelector(".install")
      .addEventListener("click", () => load().then(({ download }) => download(), fail));
  }
}
