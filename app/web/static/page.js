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
  import("./combine.js"),
  import("./menu.js"),
]);
modules.catch(() => setScripted(false));

async function classify(files) {
  const chosen = [...files]; // before waiting, because the event's list of files expires
  const [{ classifyFiles }] = await modules;
  classifyFiles(chosen);
}

for (const input of document.querySelectorAll(".picker input")) {
  input.addEventListener("change", () => {
    if (!root.classList.contains("js")) return;
    classify(input.files);
    input.value = ""; // allow choosing the same file again
  });
}

document.querySelector(".plate").addEventListener("click", () => fileInput.click());

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const setDragging = (isDragging) => root.classList.toggle("dragging", isDragging);

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // otherwise the browser opens the file
  event.dataTransfer.dropEffect = "copy";
  setDragging(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) setDragging(false);
});
document.addEventListener("drop", (event) => {
  setDragging(false);
  if (!hasFiles(event)) return;
  event.preventDefault();
  classify(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => classify(event.clipboardData?.files ?? []));

// Relative to the mount path. Undefined without HTTPS.
navigator.serviceWorker?.register(new URL("../service-worker.js", import.meta.url)).catch(() => {});
