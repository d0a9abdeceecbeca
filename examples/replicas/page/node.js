// Replicas have a colour each, in the order in which the page hears of them, sorted
// as far as they are known from the beginning.

const colours = 6;
const known = new Map();

export function introduce(nodes) {
  for (const node of [...nodes].sort()) {
    if (!known.has(node)) known.set(node, (known.size % colours) + 1);
  }
}

// colour returns the class that gives an element the colour of a replica.
export function colour(node) {
  if (!node) return "node-none";
  introduce([node]);
  return `node-${known.get(node)}`;
}

// letters returns what stands for a replica where there is little room.
export function letters(node) {
  return node ? [...node].slice(0, 2).join("") : "·";
}
