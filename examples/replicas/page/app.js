import { $, set } from "./dom.js";
import { name, persist, randomName, request } from "./api.js";
import { colour, introduce, letters } from "./node.js";
import { note, setUpLog } from "./log.js";
import { drawPeople } from "./people.js";
import { refreshReplicas, setMine, setPeople, setUpReplicas } from "./replicas.js";
import { Rooms } from "./rooms.js";
import { Sender } from "./sender.js";
import { openStream } from "./stream.js";
import { addToStrip, fillStrip, markReset } from "./strip.js";
import { Tally } from "./tally.js";

// What outlives a reload of the tab: the stream goes on where it stopped. Counters and
// position are stored together, so they always fit each other.
const stored = JSON.parse(sessionStorage.getItem("replicas") ?? "{}");
const client = stored.client ?? `tab-${randomName(6)}`;
const tally = new Tally(stored.tally);
const rooms = new Rooms(client, stored.rooms ?? [], save);
const sender = new Sender(() => $("name").value.trim() || client, () => rooms.joined);

let node = ""; // that serves this tab; empty while none does
let lastNode = stored.node ?? "";
let moves = stored.moves ?? 0;
let lostAt = 0; // since when there has been no connection; 0 at first
let refreshing = false;

function save() {
  const state = { client, name: $("name").value, rooms: rooms.joined, moves, node: lastNode, tally: tally.saved() };
  sessionStorage.setItem("replicas", JSON.stringify(state));
}

function draw() {
  for (const what of ["received", "missed", "duplicated", "resets"]) set($(what), tally[what]);
  for (const what of ["missed", "duplicated"]) $(what).classList.toggle("bad", tally[what] > 0);
  set($("moves"), moves);
  set($("position"), tally.position || "–");
  $("position").title = tally.position;
  $("served").className = `avatar big ${colour(node)}`;
  set($("served"), letters(node));
  set($("served-text"), node ? `served by replica ${node}` : "moving on …");
}

// Many events may come between two frames of the screen: they are drawn, and stored, once.
let drawing = false;
function soon() {
  if (drawing) return;
  drawing = true;
  const later = document.hidden ? (f) => setTimeout(f, 500) : requestAnimationFrame;
  later(() => {
    drawing = false;
    draw();
    save();
  });
}

function parse(data) {
  try {
    const value = JSON.parse(data);
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

const on = {
  hello(hello) {
    if (lastNode && hello.node !== lastNode) moves++;
    if (lastNode !== hello.node) note("moved", hello.node, lastNode ? `from replica ${lastNode} to ${hello.node}` : `to replica ${hello.node}`);
    if (lostAt === 0 || Date.now() - lostAt > 20_000) rooms.again();
    node = lastNode = hello.node;
    setMine(node);
    soon();
    refresh();
  },

  event(type, event) {
    const data = parse(event.data);
    const missing = tally.accept(event.lastEventId, String(data.publisher), data.n);
    if (type === "tick") {
      addToStrip(node, missing);
      note("tick", node, `${data.publisher} · ${data.n}`, `published by ${data.via}`);
    } else if (typeof data.text === "string") {
      note("message", node, `${data.from}: ${data.text}`, data.to ? `to ${data.to}` : "");
    } else {
      note("message", node, event.data);
    }
    if (missing > 0) note("missed", node, `${missing} numbered events before ${data.n}`);
    if (missing < 0) note("twice", node, event.lastEventId);
    soon();
  },

  reset(event) {
    tally.reset(event.lastEventId);
    markReset();
    rooms.again();
    note("reset", node, "events may be missing: the page would read its state anew", parse(event.data).reason);
    soon();
  },

  lost() {
    if (node) lostAt = Date.now();
    node = "";
    setMine("");
    soon();
  },
};

async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    const [people] = await Promise.all([request("GET", "/presence"), refreshReplicas()]);
    introduce(people.flatMap((p) => p.sessions.map((s) => s.node)));
    setPeople(people);
    drawPeople(people, client, (to) => sender.to(to));
    sender.setPeople(people.map((p) => p.client));
    const me = people.find((p) => p.client === client);
    if (me && me.metadata.name === undefined) rename(); // it was forgotten while we were away
  } catch {
    // Nobody answers now: what is shown stays, and the next round comes soon.
  } finally {
    refreshing = false;
  }
}

async function rename() {
  try {
    await persist("PUT", `/metadata/${name(client)}`, JSON.stringify({ name: $("name").value.trim() }));
  } catch {
    return; // the next look at who is there does it again
  }
  save();
  refresh();
}

const firstNames = ["Ada", "Barbara", "Edsger", "Frances", "Grace", "Hedy", "Ken", "Leslie", "Margaret", "Radia", "Tony"];

set($("client"), client);
$("name").value = stored.name ?? firstNames[Math.floor(Math.random() * firstNames.length)];
$("name").addEventListener("change", rename);
$("me").addEventListener("submit", (event) => {
  event.preventDefault();
  $("name").blur();
});
setUpLog();
setUpReplicas();
fillStrip();
await refreshReplicas();
openStream({ client, position: tally.position, on });
setInterval(() => document.hidden || refresh(), 1000);
addEventListener("pagehide", save);
draw();
