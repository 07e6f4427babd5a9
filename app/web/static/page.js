/* Entry point of the start page: passes chosen, dropped and pasted files to the queue.
 *
 * Without this script, the page's forms still work. Rendering waits for this file, but not for the
 * modules it imports. */

const root = document.documentElement;
const fileInput = document.getElementById("file");

/* Switch between the scripted page and its plain forms. */
function setScripted(isScripted) {
  root.classList.toggle("js", isScripted);
  fileInput.multiple = isScripted; // without scripts, all files would be sent in one request
}

setScripted(true);

const modules = Promise.all([
  import("./queue.js"),
  import("./notice.js"),
  import("./leaving.js"),
]);
modules.catch(() => setScripted(false));

async function classify(files) {
  const chosen = [...files]; // before waiting, because the event's list of files expires
  const [{ classifyFiles }] = await modules;
  classifyFiles(chosen);
}

async function explainDrop() {
  const [, { notify }] = await modules;
  notify("no_file");
}

for (const input of document.querySelectorAll(".picker input")) {
  input.addEventListener("change", () => {
    if (!root.classList.contains("js")) return;
    classify(input.files);
    input.value = ""; // allow choosing the same file again
  });
}

document.querySelector(".plate").addEventListener("click", () => fileInput.click());

/* -- Dropping --------------------------------------------------------------- */

let isOwnDrag = false; // of the page's own photo or link

/* Return true for files and for what the browser would open instead of this page. */
const isTaken = ({ dataTransfer }) =>
  ["Files", "text/uri-list"].some((type) => dataTransfer?.types.includes(type));

const setDragging = (isDragging) => root.classList.toggle("dragging", isDragging);

document.addEventListener("dragstart", () => {
  isOwnDrag = true;
});
// If the dragged element was replaced meanwhile, "dragend" does not reach the document.
for (const type of ["dragend", "pointerover"]) {
  document.addEventListener(type, () => {
    isOwnDrag = false;
  });
}
document.addEventListener("dragover", (event) => {
  if (isOwnDrag || !isTaken(event)) return;
  event.preventDefault(); // otherwise the browser opens the file or picture
  // Browsers drop nothing if the source does not allow the effect.
  const { effectAllowed } = event.dataTransfer;
  event.dataTransfer.dropEffect = effectAllowed.startsWith("link") ? "link" : "copy";
  setDragging(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) setDragging(false);
});
document.addEventListener("drop", (event) => {
  setDragging(false);
  if (isOwnDrag || !isTaken(event)) return;
  event.preventDefault();
  const { files } = event.dataTransfer;
  // Browsers hand over a picture of another page as a file or only as its address.
  if (files.length > 0) classify(files);
  else explainDrop();
});

document.addEventListener("paste", (event) => classify(event.clipboardData?.files ?? []));

// Relative to the mount path. Undefined without HTTPS.
const { serviceWorker } = navigator;
serviceWorker?.register(new URL("../service-worker.js", import.meta.url)).catch(() => {});

// Photos shared from another app: the service worker has received them and opened this page.
const url = new URL(location.href);
if (url.searchParams.has("shared")) {
  url.searchParams.delete("shared"); // a reload has nothing to take
  history.replaceState(null, "", url);
  serviceWorker?.addEventListener("message", ({ data: { shared } }) => {
    // An empty file shows a problem, if the worker has lost the photos.
    classify(shared.length > 0 ? shared : [new File([], "")]);
  });
  serviceWorker?.controller?.postMessage("take-shared");
}
