/* The controls of results and of the list, which load with the first photo. */

import "./combine.js";
import "./correction.js";
import "./kept_photos.js";
import "./menu.js";
import "./select_part.js";

import { dispatch } from "./display.js";
import { state } from "./entries.js";

// A problem may be on display already, or a photo that was kept.
if (state.shown) dispatch("show", state.shown);
