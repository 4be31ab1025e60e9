// The history of translations: in this browser, on request, and nowhere else.

import { h } from "../dom";
import { direction, t, when } from "../i18n";
import { icon } from "../icons";
import { change, keep, recall, settings } from "../settings";
import { openDialog } from "./dialog";

export interface Remembered {
  source: string;
  target: string;
  text: string;
  translation: string;
  time: string;
}

const NAME = "regard.history";
const LIMIT = 100;

const all = () => recall<Remembered[]>(NAME, []);
export const forgetHistory = (): void => keep(NAME, undefined);

/** Remembers a translation, if the person asked for it. Text that only grew replaces what it grew from. */
export function remember(entry: Remembered): void {
  if (!settings.history) return;
  const others = all().filter(
    (old) => !(old.source === entry.source && old.target === entry.target && entry.text.startsWith(old.text)),
  );
  keep(NAME, [entry, ...others].slice(0, LIMIT));
}

/** Opens the history; `use` is called with what the person chooses. */
export function openHistory(use: (entry: Remembered) => void): void {
  const dialog = openDialog(t("history.title"), (close) => {
    const again = () => (close(), openHistory(use));
    if (!settings.history) {
      const on = () => (change({ history: true }), again());
      return h(
        "div",
        { class: "stack" },
        h("p", {}, t("history.off")),
        h("button", { class: "primary", onclick: on }, t("history.on")),
      );
    }
    const entries = all();
    if (entries.length === 0) return h("p", { class: "quiet" }, t("history.empty"));
    const row = (entry: Remembered) =>
      h(
        "li",
        { class: "entry" },
        h("p", { class: "quiet small" }, direction(entry.source, entry.target), " · ", when(entry.time)),
        h("p", { lang: entry.source }, entry.text),
        h("p", { lang: entry.target }, entry.translation),
        h("button", { class: "small", onclick: () => (close(), use(entry)) }, t("history.use")),
      );
    return h(
      "div",
      { class: "stack" },
      h("ul", { class: "plain entries" }, ...entries.map(row)),
      h("button", { class: "end", onclick: () => (forgetHistory(), again()) }, icon("trash"), t("history.clear")),
    );
  });
  dialog.classList.add("wide");
}
