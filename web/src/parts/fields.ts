// Labelled controls.

import { type Child, h } from "../dom";
import { languageName, t } from "../i18n";
import { type IconName, icon } from "../icons";

let count = 0;

/** A control under its label, with a hint that screen readers read with it. */
export function field(label: string, control: HTMLElement, hint?: string): HTMLElement {
  const id = `field-${++count}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
  );
}

/** A box to tick. */
export function tick(label: string, checked: boolean, changed: (checked: boolean) => void, hint?: string): HTMLElement {
  const box = h("input", { type: "checkbox", checked, onchange: () => changed(box.checked) });
  const id = `field-${++count}`;
  if (hint) box.setAttribute("aria-describedby", id);
  return h(
    "div",
    { class: "field" },
    h("label", { class: "tick" }, box, label),
    hint && h("p", { class: "hint", id }, hint),
  );
}

export interface Choice {
  value: string;
  label: string;
}

/** A list to choose from. */
export function choose(
  attributes: { [name: string]: unknown },
  choices: Choice[],
  value: string,
  changed: (value: string) => void = () => {},
): HTMLSelectElement {
  const select = h("select", attributes, ...choices.map((each) => h("option", { value: each.value }, each.label)));
  select.value = value;
  select.addEventListener("change", () => changed(select.value));
  return select;
}

export const languageChoices = (codes: string[]): Choice[] =>
  codes.map((code) => ({ value: code, label: languageName(code) }));

/** A button that opens the system's file chooser. */
export function fileButton(
  label: Child,
  attributes: { [name: string]: unknown },
  chosen: (files: File[]) => void,
): HTMLElement {
  const { accept, multiple, ...others } = attributes;
  const input = h("input", {
    type: "file",
    hidden: true,
    accept,
    multiple,
    onchange: () => {
      chosen([...(input.files ?? [])]);
      input.value = "";
    },
  });
  return h(
    "span",
    { class: "file" },
    h("button", { type: "button", ...others, onclick: () => input.click() }, label),
    input,
  );
}

/** What every section begins with. The heading takes the focus when the section is entered. */
export function heading(title: string, lead: string, ...actions: Child[]): HTMLElement {
  return h(
    "div",
    { class: "heading" },
    h("div", {}, h("h1", { tabindex: -1 }, title), h("p", { class: "lead" }, lead)),
    h("div", { class: "row" }, ...actions),
  );
}

export const loading = (): HTMLElement => h("p", { class: "quiet", role: "status" }, t("list.loading"), "…");

/** A button with a picture; its name is read out and shown when the mouse rests on it. */
export function toolButton(
  name: IconName,
  label: string,
  run: () => void,
  attributes: { [name: string]: unknown } = {},
): HTMLButtonElement {
  return h("button", { class: "tool", "aria-label": label, title: label, onclick: run, ...attributes }, icon(name));
}
