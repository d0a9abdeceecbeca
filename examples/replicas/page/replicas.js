import { $, make, set, sync } from "./dom.js";
import { request } from "./api.js";
import { colour, introduce, letters } from "./node.js";

// The replicas, and the buttons that stop and start them. Where the demo's proxy is not,
// there are no such buttons: the page shows the replicas that anybody is connected to.

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let replicas = [];
let mine = "";
let rolling = false;
let alone = false; // there is no demo around the replica

export function setMine(node) {
  mine = node;
  draw();
}

export async function refreshReplicas() {
  if (alone) return;
  try {
    replicas = await request("GET", "/demo/replicas");
    introduce(replicas.map((r) => r.name));
    draw();
  } catch (error) {
    alone = error.status === 404;
    $("rolling").hidden = alone;
    if (alone) set($("replicas-note"), "Those that have sessions. Stop and start them where they run: this tab moves on.");
  }
}

// setPeople tells who is connected where.
export function setPeople(people) {
  if (!alone) return;
  const sessions = new Map();
  for (const { node } of people.flatMap((p) => p.sessions)) sessions.set(node, (sessions.get(node) ?? 0) + 1);
  replicas = [...sessions].map(([name, sessions]) => ({ name, sessions, state: "running", ready: true }));
  replicas.sort((a, b) => (a.name < b.name ? -1 : 1));
  draw();
}

async function act(name, what) {
  set($("replicas-note"), { stop: `${name} sends its clients elsewhere and stops.`, kill: `${name} is gone without a word; its lease will lapse.`, start: `${name} starts anew.` }[what]);
  try {
    await request("POST", `/demo/replicas/${encodeURIComponent(name)}/${what}`);
  } catch (error) {
    set($("replicas-note"), error.message);
  }
  await refreshReplicas();
}

// roll restarts one replica after the other, as a deployment does.
async function roll() {
  rolling = true;
  draw();
  const is = (name) => replicas.find((r) => r.name === name);
  const until = async (name, done) => {
    for (let i = 0; i < 150 && !done(is(name)); i++) {
      await pause(100);
      await refreshReplicas();
    }
  };
  await refreshReplicas();
  for (const { name } of [...replicas]) {
    if (is(name).state === "running") await act(name, "stop");
    await until(name, (r) => r.state === "stopped" || r.state === "killed");
    await pause(600);
    await act(name, "start");
    await until(name, (r) => r.ready);
    await pause(600);
  }
  set($("replicas-note"), replicas.every((r) => r.ready) ? "All replicas have been restarted." : "Not all replicas could be restarted.");
  rolling = false;
  draw();
}

function describe(r) {
  if (r.state !== "running") return r.state;
  const readiness = r.ready ? "" : " · not ready";
  return `${r.sessions} ${r.sessions === 1 ? "session" : "sessions"}${readiness}`;
}

function create(r) {
  const button = (what, label, title) =>
    make("button", { type: "button", className: "quiet", title, "data-act": what, "aria-label": `${label} replica ${r.name}`, onclick: () => act(r.name, what) }, label);
  return make(
    "li",
    {},
    make("div", { className: `avatar ${colour(r.name)}`, "aria-hidden": "true" }, letters(r.name)),
    make(
      "div",
      { className: "replica-text" },
      make("p", { className: "replica-name" }, make("strong", {}, r.name), make("span", { className: "here" }, "this tab")),
      make("p", { className: "state muted" }),
      r.address ? make("a", { className: "muted ellipsis", href: r.address, title: "this replica alone" }, r.address.replace(/^https?:\/\//, "")) : "",
    ),
    alone
      ? ""
      : make(
          "div",
          { className: "acts" },
          button("stop", "Stop", "Drain: clients are told to come back, then it ends"),
          button("kill", "Kill", "As a crash: connections break, and it says goodbye to nobody"),
          button("start", "Start", "A new replica at the same address"),
        ),
  );
}

function update(element, r) {
  const up = r.state === "running" || r.state === "draining";
  element.classList.toggle("down", !up);
  element.classList.toggle("mine", r.name === mine && up);
  element.dataset.state = r.state;
  set(element.querySelector(".state"), describe(r));
  for (const button of element.querySelectorAll("button")) {
    const possible = { stop: r.state === "running", kill: up, start: !up }[button.dataset.act];
    button.disabled = rolling || !possible;
  }
}

function draw() {
  sync($("replicas"), replicas, (r) => r.name, create, update);
  $("rolling").disabled = rolling;
}

export function setUpReplicas() {
  $("rolling").addEventListener("click", roll);
}
