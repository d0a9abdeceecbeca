// The event stream. The browser's EventSource reconnects and resumes by itself; only
// when it gives up for good a new one takes over.

export function openStream({ client, position, on }) {
  let source;
  let last = position;

  const open = () => {
    const query = new URLSearchParams({ client, topic: "ticks", hello: "1" });
    if (last) query.set("lastEventId", last); // from before the page was loaded
    source = new EventSource(`/events?${query}`);
    const listen = (type, f) =>
      source.addEventListener(type, (event) => {
        if (event.lastEventId) last = event.lastEventId;
        f(event);
      });
    listen("hello", (event) => on.hello(JSON.parse(event.data)));
    listen("tick", (event) => on.event("tick", event));
    listen("message", (event) => on.event("message", event));
    listen("reset", (event) => on.reset(event));
    source.addEventListener("error", () => {
      on.lost();
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 1000);
    });
  };

  open();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) open();
  });
}
