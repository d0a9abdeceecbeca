// Building elements. Text is always text: nothing here parses HTML.

export const $ = (id) => document.getElementById(id);

// make returns an element with properties, and children that are elements or text.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

// set changes text only if it is different, so that nothing is selected or read out in vain.
export function set(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// sync makes the children of a list stand for items, keeping the elements of those that
// stay: focus and hover survive. Each item has a key.
export function sync(list, items, key, create, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, i) => {
    const k = key(item);
    let child = old.get(k);
    old.delete(k);
    if (!child) {
      child = create(item);
      child.dataset.key = k;
    }
    update?.(child, item);
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] ?? null);
  });
  for (const child of old.values()) child.remove();
}
