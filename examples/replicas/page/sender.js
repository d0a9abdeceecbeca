import { $, make, set } from "./dom.js";
import { publish } from "./api.js";

// The form that sends messages.

const labels = { everyone: "Everyone gets it", client: "Client", room: "Room" };

export class Sender {
  #people = [];

  constructor(author, rooms) {
    this.author = author;
    this.rooms = rooms;
    const form = $("send");
    for (const radio of form.elements.to) radio.addEventListener("change", () => this.#choose());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#choose();
  }

  get kind() {
    return $("send").elements.to.value;
  }

  setPeople(clients) {
    if (clients.join("\n") === this.#people.join("\n")) return;
    this.#people = clients;
    this.#suggest();
  }

  // to addresses the form to a client.
  to(client) {
    $("send").elements.to.value = "client";
    this.#choose();
    $("target").value = client;
    $("text").focus();
  }

  #choose() {
    set($("target-label"), labels[this.kind]);
    $("target").disabled = this.kind === "everyone";
    $("target").placeholder = { everyone: "all connected clients", client: "its id", room: "its name" }[this.kind];
    $("target").required = this.kind !== "everyone";
    $("target").value = this.kind === "room" ? (this.rooms()[0] ?? "") : "";
    this.#suggest();
  }

  #suggest() {
    const names = { everyone: [], client: this.#people, room: this.rooms() }[this.kind];
    $("targets").replaceChildren(...names.map((value) => make("option", { value })));
  }

  async #send() {
    const to = { kind: this.kind, name: $("target").value.trim() };
    const text = $("text").value;
    if (text === "" || (to.kind !== "everyone" && to.name === "")) return;
    $("text").value = "";
    try {
      const { position } = await publish(to, { from: this.author(), text, to: to.kind === "everyone" ? "everyone" : `${to.kind} ${to.name}` });
      set($("send-note"), `Accepted at ${position}`);
    } catch (error) {
      if ($("text").value === "") $("text").value = text;
      set($("send-note"), `Not sent: ${error.message}`);
    }
  }
}
