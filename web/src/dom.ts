// Elements without a framework: `h("button", { class: "quiet", onclick: go }, "Go")`.
// Text is always text: nothing here, or anywhere in the page, parses HTML from a string.

export type Child = Node | string | number | null | undefined | false | Child[];

type Handlers = {
  [K in keyof GlobalEventHandlersEventMap as `on${K}`]?: (event: GlobalEventHandlersEventMap[K]) => void;
};
type Attributes = { [name: string]: unknown };

/** An element with attributes (those that are `false`, `null` or absent are left out), listeners (`on…`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes & Handlers = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (name === "value" && "value" in element) element.value = value as never;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Puts new children in place of all that an element has. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child === null || child === undefined || child === false) continue;
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Calls `action` once nothing has called it for `delay` milliseconds; `cancel` forgets a call that waits. */
export function debounce(action: () => void, delay: () => number): { (): void; cancel(): void } {
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = window.setTimeout(action, delay());
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
