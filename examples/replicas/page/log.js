import { $, make } from "./dom.js";
import { colour, letters } from "./node.js";

// The log of events, newest first.

const kept = 200;

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

// note adds a line: what kind it is, which replica it came through, and text.
export function note(kind, node, text, detail = "") {
  const now = new Date();
  const line = make(
    "li",
    { className: `kind-${kind}` },
    make("time", { dateTime: now.toISOString() }, clock.format(now)),
    make("span", { className: `dot ${colour(node)}`, title: node ? `served by ${node}` : "" }, letters(node)),
    make("span", { className: "kind" }, kind),
    make("span", { className: "text" }, text, detail && make("span", { className: "muted detail" }, detail)),
  );
  const log = $("log");
  log.prepend(line);
  while (log.children.length > kept) log.lastChild.remove();
}

export function setUpLog() {
  const box = $("show-ticks");
  const show = () => $("log").classList.toggle("with-ticks", box.checked);
  box.addEventListener("change", show);
  show();
}
