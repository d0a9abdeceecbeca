import { $, make } from "./dom.js";
import { colour } from "./node.js";

// The strip of the last numbered events.

const cells = 120;

export function addToStrip(node, missing) {
  const strip = $("strip");
  const state = missing > 0 ? " gap" : missing < 0 ? " twice" : "";
  strip.append(make("i", { className: `${colour(node)}${state}` }));
  while (strip.children.length > cells) strip.firstChild.remove();
}

export function markReset() {
  $("strip").append(make("i", { className: "reset" }));
}

// fill gives the strip its shape before anything has come.
export function fillStrip() {
  $("strip").append(...Array.from({ length: cells }, () => make("i")));
}
