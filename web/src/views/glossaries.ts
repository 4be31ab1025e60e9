// Glossaries: a list of them, and the terms of one.

import { address, call, download } from "../api/client";
import type { Glossary, Imported, Page, Term } from "../api/types";
import { fill, h } from "../dom";
import { direction, number, t } from "../i18n";
import { icon } from "../icons";
import { confirmDeletion, openForm } from "../parts/dialog";
import { field, fileButton, heading, loading, tick } from "../parts/fields";
import { listing } from "../parts/listing";
import { attempt, notify } from "../parts/notice";
import { pairField, pairOf } from "../parts/pair";
import type { View } from "../shell";
import { dictionarySection } from "./dictionaries";

export function glossariesView(id: string): View {
  return { element: id ? oneGlossary(id) : allGlossaries() };
}

function allGlossaries(): HTMLElement {
  const list = listing<Glossary>(
    (range) => call<Page<Glossary>>("GET", address("v1/glossaries", range)),
    glossaryRow,
    () => t("glossaries.empty"),
  );
  list.reload();
  const create = () =>
    openForm(
      t("glossaries.new"),
      [
        field(t("glossaries.name"), h("input", { name: "name", required: true })),
        field(t("language.pair"), pairField()),
      ],
      t("action.create"),
      async (form) => {
        const body = { name: form.get("name"), ...pairOf(String(form.get("pair"))), terms: [] };
        const made = await attempt(() => call<Glossary>("POST", "v1/glossaries", body));
        if (made) location.hash = `#/glossaries/${made.id}`;
        return made !== undefined;
      },
    );
  const button = h("button", { class: "primary", onclick: create }, icon("plus"), t("glossaries.new"));
  const head = heading(t("glossaries.title"), t("glossaries.lead"), button);
  return h("div", { class: "stack" }, head, list.element, dictionarySection());
}

function glossaryRow(glossary: Glossary): HTMLElement {
  const facts = [direction(glossary.source, glossary.target), t("glossaries.terms", { count: number(glossary.size) })];
  return h(
    "li",
    { class: "entry row between" },
    h(
      "div",
      { class: "grow" },
      h("a", { class: "title", href: `#/glossaries/${glossary.id}` }, glossary.name),
      h("p", { class: "quiet small" }, facts.join(" · ")),
    ),
    activeTick(glossary),
  );
}

function activeTick(glossary: Glossary): HTMLElement {
  return tick(t("glossaries.active"), glossary.active, (active) =>
    attempt(() => call("PATCH", `v1/glossaries/${glossary.id}`, { active })),
  );
}

function oneGlossary(id: string): HTMLElement {
  const element = h("div", { class: "stack" }, loading());
  const path = `v1/glossaries/${id}`;
  const load = async () => {
    const glossary = await attempt(() => call<Glossary>("GET", path));
    if (glossary) fill(element, glossaryPage(glossary, path, load));
  };
  load();
  return element;
}

function glossaryPage(glossary: Glossary, path: string, reload: () => void): HTMLElement[] {
  const bring = async (file: File) => {
    const form = new FormData();
    form.set("file", file);
    const counts = await attempt(() => call<Imported>("POST", `${path}/import`, form));
    if (counts) notify(t("memory.imported", { ...counts }));
    reload();
  };
  const save = (format: string) =>
    attempt(() => download(address(`${path}/export`, { format }), `${glossary.name}.${format}`));
  const remove = () =>
    confirmDeletion(t("glossaries.deleteSure", { name: glossary.name }), async () => {
      await attempt(() => call("DELETE", path));
      location.hash = "#/glossaries";
    });
  const terms = glossary.terms ?? [];
  return [
    h("a", { class: "back", href: "#/glossaries" }, icon("back"), t("glossaries.title")),
    heading(
      glossary.name,
      direction(glossary.source, glossary.target),
      activeTick(glossary),
      fileButton(
        [icon("upload"), t("action.import")],
        { title: t("glossaries.importHint"), accept: ".csv,.tbx,.xml" },
        ([file]) => file && bring(file),
      ),
      h("button", { onclick: () => save("csv") }, icon("download"), "CSV"),
      h("button", { onclick: () => save("tbx") }, icon("download"), "TBX"),
      h(
        "button",
        { class: "tool", "aria-label": t("action.delete"), title: t("action.delete"), onclick: remove },
        icon("trash"),
      ),
    ),
    termForm(glossary, path, reload),
    terms.length === 0
      ? h("p", { class: "quiet empty" }, t("glossaries.noTerms"))
      : termTable(glossary, terms, path, reload),
  ];
}

function termForm(glossary: Glossary, path: string, reload: () => void): HTMLElement {
  const input = (name: string, attributes: object = {}) => h("input", { name, autocomplete: "off", ...attributes });
  const submit = async (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    const variants = text("variants")
      .split(/[,，、]/)
      .map((each) => each.trim())
      .filter(Boolean);
    const body = {
      source: text("source"),
      target: text("target"),
      variants,
      case_sensitive: form.has("case"),
      note: text("note"),
    };
    if (!(await attempt(() => call<Term>("POST", `${path}/terms`, body)))) return;
    reload();
    requestAnimationFrame(() => document.querySelector<HTMLElement>('.term-form input[name="source"]')?.focus());
  };
  return h(
    "form",
    { class: "term-form panel", onsubmit: submit },
    field(t("glossaries.term"), input("source", { required: true, lang: glossary.source })),
    field(t("glossaries.translation"), input("target", { required: true, lang: glossary.target })),
    field(t("glossaries.variants"), input("variants", { lang: glossary.target }), t("glossaries.variantsHint")),
    field(t("glossaries.note"), input("note")),
    h("label", { class: "tick" }, h("input", { type: "checkbox", name: "case" }), t("glossaries.caseSensitive")),
    h("button", { class: "primary" }, icon("plus"), t("action.add")),
  );
}

function termTable(glossary: Glossary, terms: Term[], path: string, reload: () => void): HTMLElement {
  const row = (term: Term) => {
    const remove = () => attempt(() => call("DELETE", `${path}/terms/${term.id}`)).then(reload);
    const label = `${t("action.delete")}: ${term.source}`;
    return h(
      "tr",
      {},
      h(
        "td",
        { lang: glossary.source },
        term.source,
        term.case_sensitive && h("span", { class: "badge", title: t("glossaries.caseSensitive") }, "Aa"),
      ),
      h("td", { lang: glossary.target }, term.target),
      h("td", { lang: glossary.target, class: "quiet" }, term.variants.join(", ")),
      h("td", { class: "quiet" }, term.note),
      h(
        "td",
        {},
        h("button", { class: "tool", "aria-label": label, title: t("action.delete"), onclick: remove }, icon("trash")),
      ),
    );
  };
  const head = [t("glossaries.term"), t("glossaries.translation"), t("glossaries.variants"), t("glossaries.note")];
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": glossary.name },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...head.map((label) => h("th", { scope: "col" }, label)), h("td", {}))),
      h("tbody", {}, ...terms.map(row)),
    ),
  );
}
