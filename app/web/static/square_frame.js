/* A square frame on a photo, moved and resized with the mouse, fingers or the keyboard. */

import { announce } from "./display.js";
import { copy, format } from "./messages.js";

const FIRST_SIDE = 0.6; // of the photo's shorter side
const SMALLEST_PX = 64; // on the screen, so that there is room to grab it
const STEP = 0.02; // of the photo's shorter side, per key press
const ZOOM = 1.15; // per key press or button
const ANNOUNCE_MS = 500; // after the last change

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const distance = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);
const middle = (points) => ({
  x: points.reduce((sum, { x }) => sum + x, 0) / points.length,
  y: points.reduce((sum, { y }) => sum + y, 0) / points.length,
});

/* Let the visitor select a square of the photo in `mount`; resolve to it, or to null if they leave.
 *
 * The square is {x, y, side} in fractions: of the photo's width, its height and its shorter side.
 * `tools` has the buttons. Aborting `signal` leaves. */
export function selectSquare(mount, tools, first, signal) {
  const photo = mount.querySelector(".photo");
  const { naturalWidth: width, naturalHeight: height } = photo;
  const shorter = Math.min(width, height);
  const layer = copy("frame");
  const frame = layer.querySelector(".square");
  let square; // in pixels of the photo
  let view; // where the photo is in the layer: {scale, left, top}
  let timer;

  const smallest = () => Math.min(shorter, SMALLEST_PX / view.scale);

  /* Set the square, moved into the photo. */
  function set({ x, y, side }) {
    square = { side, x: clamp(x, 0, width - side), y: clamp(y, 0, height - side) };
    draw();
  }

  function draw() {
    const { scale, left, top } = view;
    layer.style.setProperty("--x", `${left + square.x * scale}px`);
    layer.style.setProperty("--y", `${top + square.y * scale}px`);
    layer.style.setProperty("--square", `${square.side * scale}px`);
  }

  /* Find the photo, which `object-fit: contain` may have put in the middle of its box. */
  function measure() {
    const { clientWidth, clientHeight } = layer;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    view = {
      scale,
      left: (clientWidth - width * scale) / 2,
      top: (clientHeight - height * scale) / 2,
    };
  }

  function announceSquare() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const shares = { left: square.x / width, top: square.y / height, side: square.side / shorter };
      const values = Object.entries(shares).map(([name, share]) => [name, Math.round(share * 100)]);
      announce(format("frame_at", Object.fromEntries(values)));
    }, ANNOUNCE_MS);
  }

  const moveBy = (dx, dy) => set({ ...square, x: square.x + dx, y: square.y + dy });

  /* Resize a square around its center. */
  function zoom(factor, from = square) {
    const side = clamp(from.side * factor, smallest(), shorter);
    set({ side, x: from.x + (from.side - side) / 2, y: from.y + (from.side - side) / 2 });
  }

  /* Move a corner to a point; the opposite corner stays. */
  function pull(corner, from, point) {
    const [right, down] = [corner.includes("e"), corner.includes("s")];
    const fixed = {
      x: right ? from.x : from.x + from.side,
      y: down ? from.y : from.y + from.side,
    };
    const room = Math.min(right ? width - fixed.x : fixed.x, down ? height - fixed.y : fixed.y);
    const wanted = Math.max(
      right ? point.x - fixed.x : fixed.x - point.x,
      down ? point.y - fixed.y : fixed.y - point.y,
    );
    const side = clamp(wanted, Math.min(room, smallest()), room);
    set({ side, x: right ? fixed.x : fixed.x - side, y: down ? fixed.y : fixed.y - side });
  }

  /* -- Pointers ------------------------------------------------------------ */

  const pointers = new Map(); // the last position of each, in pixels of the photo
  let grip; // the corner that is dragged, if any
  let start; // the square and the pointers when the last one came or went

  function position({ clientX, clientY }) {
    const { left, top } = layer.getBoundingClientRect();
    return { x: (clientX - left - view.left) / view.scale, y: (clientY - top - view.top) / view.scale };
  }

  function grab() {
    start = { square, points: [...pointers.values()].slice(0, 2) };
  }

  layer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // selects no text and leaves the focus to the frame
    frame.focus({ preventScroll: true });
    layer.setPointerCapture(event.pointerId);
    const point = position(event);
    pointers.set(event.pointerId, point);
    if (pointers.size === 1) {
      grip = event.target.dataset.corner;
      // A click beside the frame moves it there, for visitors who cannot drag.
      if (!frame.contains(event.target)) {
        set({ ...square, x: point.x - square.side / 2, y: point.y - square.side / 2 });
      }
    }
    grab();
  });
  layer.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, position(event));
    const points = [...pointers.values()].slice(0, 2);
    const [from, to] = [middle(start.points), middle(points)];
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const moved = { ...start.square, x: start.square.x + dx, y: start.square.y + dy };
    if (points.length === 2) zoom(distance(points) / distance(start.points), moved);
    else if (grip) pull(grip, start.square, to);
    else set(moved);
  });
  for (const type of ["pointerup", "pointercancel"]) {
    layer.addEventListener(type, ({ pointerId }) => {
      if (!pointers.delete(pointerId)) return;
      grip = undefined;
      grab();
      announceSquare();
    });
  }

  /* -- Keys and buttons ------------------------------------------------------ */

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  /* Handle a key; return false for other keys. */
  function press({ key, shiftKey }) {
    const arrow = ARROWS[key];
    if (arrow && shiftKey) zoom(arrow[0] + arrow[1] > 0 ? ZOOM : 1 / ZOOM);
    else if (arrow) moveBy(...arrow.map((direction) => direction * STEP * shorter));
    else if (key === "+" || key === "=") zoom(ZOOM);
    else if (key === "-") zoom(1 / ZOOM);
    else return false;
    announceSquare();
    return true;
  }

  return new Promise((resolve) => {
    const closing = new AbortController();
    const options = { signal: closing.signal };

    function close(result) {
      clearTimeout(timer);
      closing.abort();
      layer.remove();
      tools.hidden = true;
      resolve(result);
    }
    const leave = () => close(null);
    const ask = () =>
      close({ x: square.x / width, y: square.y / height, side: square.side / shorter });

    frame.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter") {
        event.preventDefault(); // presses no button that gets the focus
        ask();
      } else if (press(event)) event.preventDefault();
    });
    document.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        leave();
      },
      { ...options, capture: true },
    );
    for (const [name, act] of Object.entries({
      ask,
      leave,
      larger: () => press({ key: "+" }),
      smaller: () => press({ key: "-" }),
    })) {
      tools.querySelector(`.${name}`).addEventListener("click", act, options);
    }
    signal.addEventListener("abort", leave, options);

    tools.hidden = false;
    mount.append(layer);
    measure();
    const side = clamp((first?.side ?? FIRST_SIDE) * shorter, smallest(), shorter);
    set({
      side,
      x: first ? first.x * width : (width - side) / 2,
      y: first ? first.y * height : (height - side) / 2,
    });
    const resizing = new ResizeObserver(() => {
      measure();
      draw();
    });
    resizing.observe(layer);
    closing.signal.addEventListener("abort", () => resizing.disconnect());
    frame.focus({ preventScroll: true });
    frame.scrollIntoView({ block: "nearest" });
  });
}
