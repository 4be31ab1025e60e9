// Dictionaries that people load: they come before the one that is there from the start.

import { call, upload } from "../api/client";
import type { Dictionary, Page } from "../api/types";
import { h } from "../dom";
import { direction, number, t } from "../i18n";
import { icon } from "../icons";
import { confirmDeletion, openForm } from "../parts/dialog";
import { choose, field } from "../parts/fields";
import { listing } from "../parts/listing";
import { attempt, notify } from "../parts/notice";
import { pairField, pairOf } from "../parts/pair";

/** The list of dictionaries, with what adds one and takes one away. */
export function dictionarySection(): HTMLElement {
  const list = listing<Dictionary>(
    (range) => call<Page<Dictionary>>("GET", `v1/dictionaries?offset=${range.offset}&limit=${range.limit}`),
    (dictionary) => row(dictionary, () => list.reload()),
    () => t("dictionaries.empty"),
  );
  list.reload();
  const add = h("button", { onclick: () => openUpload(() => list.reload()) }, icon("upload"), t("dictionaries.load"));
  return h(
    "section",
    { class: "stack", "aria-label": t("dictionaries.title") },
    h("div", { class: "row between" }, h("h2", {}, t("dictionaries.title")), add),
    h("p", { class: "lead" }, t("dictionaries.lead")),
    list.element,
  );
}

function row(dictionary: Dictionary, reload: () => void): HTMLElement {
  const { id, name, source, target, size } = dictionary;
  const label = `${t("action.delete")}: ${name}`;
  const remove = () =>
    confirmDeletion(t("dictionaries.deleteSure", { name }), () =>
      attempt(() => call("DELETE", `v1/dictionaries/${id}`)).then(reload),
    );
  return h(
    "li",
    { class: "entry row between" },
    h(
      "div",
      { class: "grow" },
      h("span", { class: "title" }, name),
      h("p", { class: "quiet small" }, `${direction(source, target)} · ${t("dictionaries.size", { count: number(size) })}`),
    ),
    h("button", { class: "tool", "aria-label": label, title: t("action.delete"), onclick: remove }, icon("trash")),
  );
}

function openUpload(loaded: () => void): void {
  const formats = (["tsv", "cedict", "learnt"] as const).map((value) => ({ value, label: t(`dictionaries.${value}`) }));
  const name = h("input", { name: "name", required: true, maxlength: 200, autocomplete: "off" });
  const file = h("input", { type: "file", name: "file", required: true, accept: ".tsv,.txt,.u8,.gz" });
  const pair = pairField();
  const format = choose({ name: "format" }, formats, "tsv", (value) => {
    if (value === "cedict") pair.value = "zh-en"; // it knows no other
  });
  const fields = [
    field(t("dictionaries.name"), name),
    field(t("dictionaries.format"), format),
    field(t("language.pair"), pair),
    field(t("dictionaries.file"), file, t("dictionaries.hint")),
  ];
  openForm(t("dictionaries.load"), fields, t("dictionaries.load"), async (form) => {
    const { source, target } = pairOf(String(form.get("pair")));
    form.delete("pair");
    form.set("source", source);
    form.set("target", target);
    const made = await attempt(() => upload<Dictionary>("v1/dictionaries", form, () => {}));
    if (!made) return false;
    notify(t("dictionaries.loaded", { name: made.name, count: number(made.size) }));
    loaded();
    return true;
  });
}
