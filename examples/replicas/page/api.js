// The HTTP interface of the replicas, through the proxy.

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// request returns the answer's JSON, or throws an Error with the sentence that the
// answer has for it.
export async function request(method, path, body) {
  const answer = await fetch(path, { method, body, signal: AbortSignal.timeout(8000) });
  const value = await answer.json().catch(() => null);
  if (answer.ok) return value;
  const error = new Error(value?.error ?? `${answer.status} ${answer.statusText}`);
  error.status = answer.status;
  throw error;
}

// persist tries a request again while no replica can answer it. What is published must
// have a key, so that it counts once however often it is tried.
export async function persist(method, path, body) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request(method, path, body);
    } catch (error) {
      if (attempt === 8 || (error.status && error.status < 500)) throw error;
      await pause(150 * attempt);
    }
  }
}

export const name = encodeURIComponent;

export function randomName(length) {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (b) => letters[b % 32]).join("");
}

// publish sends a message; to is {kind: "everyone" | "client" | "room", name}.
export function publish(to, message) {
  const path = { everyone: "/broadcast", client: `/send/${name(to.name)}`, room: `/publish/${name(to.name)}` }[to.kind];
  return persist("POST", `${path}?key=${randomName(20)}`, JSON.stringify(message));
}
