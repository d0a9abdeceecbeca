// Tally counts what a stream delivers, and finds what it does not.
//
// Numbered events have a publisher, whose numbers have no holes: so a number that is
// too high says how many are missing, and one that is too low has come before. Beside
// that, no position may come twice.

const remembered = 2000; // positions

export class Tally {
  received = 0;
  missed = 0;
  duplicated = 0;
  resets = 0;
  position = "";
  next = {}; // of each publisher
  #seen = new Set();

  constructor(saved) {
    Object.assign(this, saved);
  }

  // accept counts an event; n is undefined unless it is a numbered one. It returns how many
  // events are missing before it, or -1 if it has come before.
  accept(position, publisher, n) {
    this.received++;
    const again = position !== "" && this.#seen.has(position);
    if (position !== "") this.#remember(position);
    let missing = again ? -1 : 0;
    if (Number.isSafeInteger(n)) {
      const next = this.next[publisher] ?? n;
      missing = again || n < next ? -1 : n - next;
      this.next[publisher] = Math.max(next, n + 1);
    }
    if (missing < 0) this.duplicated++;
    else this.missed += missing;
    return missing;
  }

  // reset takes the stream's word that events may be missing: it is no secret, so
  // counting starts anew.
  reset(position) {
    this.resets++;
    this.next = {};
    this.#remember(position);
  }

  saved() {
    const { received, missed, duplicated, resets, position, next } = this;
    return { received, missed, duplicated, resets, position, next };
  }

  #remember(position) {
    this.position = position;
    this.#seen.add(position);
    if (this.#seen.size > remembered) this.#seen.delete(this.#seen.values().next().value);
  }
}
