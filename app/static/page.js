/* The page in place: a photo chosen, dropped or pasted -> shown -> POST /predict -> its names.
 *
 * All markup comes from the page's template elements, which the server renders from the same
 * macros as its own answers (templates/parts.html). Without this script the forms do the work. */

const main = document.querySelector("main");
const sheet = main.querySelector(".sheet");
const words = document.getElementById("words");
const status = document.getElementById("status");
const maxBodyMib = Number(main.dataset.maxBodyMib);

let request = null; // the upload under way
let photoUrl = ""; // of the photo on the sheet

function copy(id, texts = {}) {
  const element = document.getElementById(id).content.firstElementChild.cloneNode(true);
  for (const [selector, text] of Object.entries(texts)) {
    element.querySelector(selector).textContent = text;
  }
  return element;
}

/* As the macro `percent` writes it. */
function percent(probability) {
  if (probability < 0.001) return "<\u00a00.1\u00a0%";
  if (probability >= 0.9995) return ">\u00a099.9\u00a0%";
  return `${(probability * 100).toFixed(1)}\u00a0%`;
}

function titled(text) {
  document.title = `${text.charAt(0).toUpperCase()}${text.slice(1)} · Petalscope`;
}

function showPhoto(file) {
  URL.revokeObjectURL(photoUrl);
  photoUrl = URL.createObjectURL(file);
  for (const old of sheet.querySelectorAll(".photo")) old.remove();
  const photo = copy("photo");
  // What the browser cannot show, the server may still read, or will refuse with a reason.
  photo.addEventListener("error", () => photo.remove());
  photo.src = photoUrl;
  sheet.prepend(photo);
}

/* The photo with a transparent picture of the same shape over it, as a new picture. */
async function laidOver(photoSource, layerSource) {
  const [photo, layer] = await Promise.all(
    [photoSource, layerSource].map(async (source) => {
      const image = new Image();
      image.src = source;
      await image.decode();
      return image;
    }),
  );
  const scale = Math.min(1, 1280 / Math.max(photo.naturalWidth, photo.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(photo.naturalWidth * scale);
  canvas.height = Math.round(photo.naturalHeight * scale);
  for (const image of [photo, layer]) {
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  }
  return canvas.toDataURL("image/jpeg", 0.85);
}

/* The switch is there once its picture is; it is left out where the browser cannot show the photo. */
async function offerExplanation(result, source, layer) {
  const label = result.querySelector(".explain");
  label.hidden = true;
  if (!layer) return;
  try {
    const picture = await laidOver(source, layer);
    if (source !== photoUrl) return; // another photo has taken its place
    const explained = copy("explained");
    explained.src = picture;
    sheet.querySelector(".photo")?.after(explained);
    label.hidden = false;
  } catch {
    // The photo itself is missing on the sheet too.
  }
}

function showResult({ predictions, verdict }) {
  const result = copy("result");
  const words = document.getElementById(verdict).content.textContent;
  result.querySelector(".kicker").textContent = words;
  for (const { name, probability } of predictions) {
    const row = copy("prediction", { ".name": name, ".percent": percent(probability) });
    row.querySelector("rect").setAttribute("width", `${(probability * 100).toFixed(2)}%`);
    result.querySelector("ol").append(row);
  }
  document.getElementById("words").replaceChildren(result);
  const [best] = predictions;
  status.textContent = `${words} ${best.name}, ${percent(best.probability)}`;
  offerExplanation(result, photoUrl, best.activation_map);
  titled(best.name);
}

function showProblem(title, detail, retry) {
  const problem = copy("problem", { ".title": title, ".detail": detail });
  const button = problem.querySelector(".retry");
  button.hidden = !retry;
  button.addEventListener("click", retry);
  words.replaceChildren(problem);
  status.textContent = "";
  titled(title);
}

function showAnswer(answer, code, retry) {
  if (code === 200 && answer?.predictions) {
    showResult(answer);
    return;
  }
  const refused = code < 500 && code !== 429;
  showProblem(
    refused ? "This photo cannot be named" : "Petalscope could not answer",
    answer?.detail ?? "Something between here and Petalscope went wrong. Try again in a moment.",
    refused ? null : retry,
  );
}

function showProgress() {
  const progress = copy("progress");
  words.replaceChildren(progress);
  const bar = progress.querySelector("progress");
  function phase(text) {
    progress.querySelector(".phase").textContent = text;
    bar.setAttribute("aria-label", text);
    status.textContent = text;
  }
  phase("Sending the photo");
  return {
    sent: (share) => bar.setAttribute("value", share),
    waiting() {
      bar.removeAttribute("value");
      phase("Looking at the photo");
    },
  };
}

function send(file) {
  request?.abort();
  request = null;
  showPhoto(file);
  window.scrollTo({ top: 0 });
  // The server refuses it too, but may hang up before it is sent, which tells a person nothing.
  const mib = file.size / 2 ** 20;
  if (mib > maxBodyMib) {
    const detail = `It has ${mib.toFixed(1)} MiB; up to ${maxBodyMib} MiB can be sent. Choose a smaller one.`;
    showProblem("This photo is too large", detail, null);
    return;
  }
  const progress = showProgress();
  const again = () => send(file);
  const body = new FormData();
  body.append("image", file);
  // Not fetch: it cannot tell how much of an upload has left.
  request = new XMLHttpRequest();
  request.open("POST", main.dataset.predict);
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", (event) => progress.sent(event.loaded / event.total));
  request.upload.addEventListener("load", progress.waiting);
  request.addEventListener("load", ({ target }) => showAnswer(target.response, target.status, again));
  request.addEventListener("error", () =>
    showProblem(
      "The photo could not be sent",
      "Petalscope cannot be reached. See whether you are connected, then try again.",
      again,
    ),
  );
  request.send(body);
}

for (const input of document.querySelectorAll(".picker input")) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) send(file);
    input.value = ""; // so that choosing the same photo again is a change
  });
}

sheet.querySelector(".plate").addEventListener("click", () => document.getElementById("file").click());

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const dragging = (on) => document.documentElement.classList.toggle("dragging", on);

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // or a drop would leave the page for the photo
  event.dataTransfer.dropEffect = "copy";
  dragging(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) dragging(false);
});
document.addEventListener("drop", (event) => {
  dragging(false);
  if (!hasFiles(event)) return;
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) send(file);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file) send(file);
});

document.documentElement.classList.add("js");
