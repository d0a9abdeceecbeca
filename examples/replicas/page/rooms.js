import { $, make, set, sync } from "./dom.js";
import { name, persist } from "./api.js";

// The rooms that this client has joined: the cluster remembers them while it is
// connected anywhere, and for a minute after. The page remembers them for longer.

export class Rooms {
  constructor(client, joined, changed) {
    this.client = client;
    this.joined = joined;
    this.changed = changed;
    $("join").addEventListener("submit", (event) => {
      event.preventDefault();
      const room = $("room").value.trim();
      if (room === "") return;
      $("room").value = "";
      this.change("join", room);
    });
    this.draw();
  }

  async change(what, room) {
    try {
      await persist("POST", `/${what}/${name(this.client)}/${name(room)}`);
    } catch (error) {
      set($("send-note"), error.message);
      return;
    }
    this.joined = this.joined.filter((r) => r !== room);
    if (what === "join") this.joined.push(room);
    this.draw();
    this.changed();
  }

  // again joins all rooms after an absence in which the cluster may have forgotten.
  async again() {
    for (const room of this.joined) await this.change("join", room);
  }

  draw() {
    sync(
      $("rooms"),
      this.joined,
      (room) => room,
      (room) =>
        make(
          "li",
          {},
          make("span", { className: "ellipsis" }, room),
          make("button", { type: "button", className: "cross", "aria-label": `Leave ${room}`, onclick: () => this.change("leave", room) }, "×"),
        ),
    );
  }
}
