import { $, make, set, sync } from "./dom.js";
import { colour, letters } from "./node.js";

// Who is online, on all replicas.

const shown = 50;

export function drawPeople(people, me, write) {
  const named = people.map((p) => ({ ...p, name: nameOf(p), me: p.client === me }));
  named.sort((a, b) => b.me - a.me || a.name.localeCompare(b.name) || (a.client < b.client ? -1 : 1));
  set($("online-count"), people.length);
  sync($("online"), named.slice(0, shown), (p) => p.client, (p) => create(p, write), update);
}

function nameOf(p) {
  const name = p.metadata?.name;
  return typeof name === "string" && name.trim() !== "" ? name : p.client;
}

function create(p, write) {
  return make(
    "li",
    {},
    make("div", { className: "person" }, make("span", { className: "person-name" }), make("code", { className: "muted ellipsis" }, p.client)),
    make("span", { className: "sessions" }),
    p.me
      ? make("span", { className: "you" }, "you")
      : make("button", { type: "button", className: "quiet", "aria-label": `Write to ${p.client}`, onclick: () => write(p.client) }, "Write"),
  );
}

function update(element, p) {
  set(element.querySelector(".person-name"), p.name);
  sync(
    element.querySelector(".sessions"),
    p.sessions,
    (s) => s.id,
    (s) => make("span", { className: `dot ${colour(s.node)}`, title: `session ${s.id} on replica ${s.node}` }, letters(s.node)),
  );
}
