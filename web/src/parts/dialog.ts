// Windows over the page. The browser's own `dialog` keeps the focus inside and gives it back.

import { type Child, h } from "../dom";
import { t } from "../i18n";
import { icon } from "../icons";

/** Opens a window; `content` gets a function that closes it. It is gone from the page once closed. */
export function openDialog(
  title: string,
  content: (close: () => void) => Child,
  closed?: () => void,
): HTMLDialogElement {
  const close = () => dialog.close();
  const cross = h(
    "button",
    { class: "tool", type: "button", "aria-label": t("action.close"), onclick: close },
    icon("clear"),
  );
  const head = h("div", { class: "row between" }, h("h2", {}, title), cross);
  const dialog = h("dialog", { "aria-label": title }, h("div", { class: "sheet stack" }, head, content(close)));
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed?.();
  });
  dialog.addEventListener("mousedown", (event) => {
    if (event.target === dialog) close(); // the backdrop: everything else lies within a child
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks before something is lost. */
export function confirmDeletion(question: string, run: () => void, label = t("action.delete")): void {
  openDialog(question, (close) =>
    h(
      "div",
      { class: "row end" },
      h("button", { onclick: close }, t("action.cancel")),
      h("button", { class: "danger", onclick: () => (close(), run()) }, label),
    ),
  );
}

/** A window with a form: Enter sends it, and it closes when `save` says that all went well. */
export function openForm(
  title: string,
  fields: Child,
  label: string,
  save: (form: FormData) => Promise<boolean>,
): void {
  openDialog(title, (close) => {
    const button = h("button", { class: "primary" }, label);
    const submit = async (event: Event) => {
      event.preventDefault();
      button.disabled = true;
      const done = await save(new FormData(event.currentTarget as HTMLFormElement));
      button.disabled = false;
      if (done) close();
    };
    return h(
      "form",
      { class: "stack", onsubmit: submit },
      fields,
      h("div", { class: "row end" }, h("button", { type: "button", onclick: close }, t("action.cancel")), button),
    );
  });
}
