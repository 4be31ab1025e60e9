// The translation memory: look through it, add to it, take from it, carry it in and out.

import { address, call, download } from "../api/client";
import type { Entry, Imported, Page } from "../api/types";
import { debounce, h } from "../dom";
import { direction, member, number, t, when } from "../i18n";
import { icon } from "../icons";
import { openForm } from "../parts/dialog";
import { field, fileButton, heading } from "../parts/fields";
import { type Listing, listing } from "../parts/listing";
import { attempt, notify } from "../parts/notice";
import { type Pair, pairField, pairFilter, pairOf } from "../parts/pair";
import type { View } from "../shell";

export function memoryView(): View {
  let pair: Pair | null = null;
  const query = h("input", { type: "search", "aria-label": t("memory.find"), placeholder: t("memory.find") });
  const list: Listing = listing<Entry>(
    (range) => call<Page<Entry>>("GET", address("v1/memory/entries", { ...pair, ...range, q: query.value })),
    (entry) => entryRow(entry, () => list.reload()),
    () => (query.value || pair ? t("memory.none") : t("memory.empty")),
  );
  const later = debounce(
    () => list.reload(),
    () => 200,
  );
  query.addEventListener("input", later);
  const save = () => {
    if (!pair) return notify(t("memory.exportNeedsPair"));
    return attempt(() => download(address("v1/memory/export", { ...pair }), "memory.tmx"));
  };
  const narrow = (chosen: Pair | null) => {
    pair = chosen;
    list.reload();
  };
  list.reload();
  return {
    element: h(
      "div",
      { class: "stack" },
      heading(
        t("memory.title"),
        t("memory.lead"),
        h("button", { class: "primary", onclick: () => addPair(list.reload) }, icon("plus"), t("memory.add")),
        fileButton(
          [icon("upload"), t("action.import")],
          { title: t("memory.importHint"), accept: ".tmx" },
          ([file]) => file && importFile(file, list.reload),
        ),
        h("button", { onclick: save }, icon("download"), t("action.export")),
      ),
      h("div", { class: "row filters" }, query, pairFilter(narrow)),
      list.element,
    ),
    leave: later.cancel,
  };
}

function entryRow(entry: Entry, reload: () => void): HTMLElement {
  const remove = async () => {
    if ((await attempt(() => call("DELETE", `v1/memory/entries/${entry.id}`).then(() => true))) !== true) return;
    const { source, target, source_text, target_text } = entry;
    const restore = () =>
      attempt(() => call("POST", "v1/memory/entries", { source, target, source_text, target_text })).then(reload);
    notify(t("memory.deleted"), { label: t("action.undo"), run: restore });
    reload();
  };
  const label = `${t("action.delete")}: ${entry.source_text}`;
  return h(
    "li",
    { class: "entry two" },
    h("p", { lang: entry.source }, entry.source_text),
    h("p", { lang: entry.target }, entry.target_text),
    h(
      "div",
      { class: "row between quiet small wide" },
      h(
        "span",
        {},
        [
          direction(entry.source, entry.target),
          member("origin", entry.origin),
          when(entry.updated),
          t("memory.uses", { count: number(entry.uses) }),
        ].join(" · "),
      ),
      h("button", { class: "tool", "aria-label": label, title: t("action.delete"), onclick: remove }, icon("trash")),
    ),
  );
}

function addPair(reload: () => void): void {
  const area = (name: string) => h("textarea", { name, rows: 3, required: true });
  const fields = [
    field(t("language.pair"), pairField()),
    field(t("memory.sourceText"), area("source_text")),
    field(t("memory.targetText"), area("target_text")),
  ];
  openForm(t("memory.add"), fields, t("action.add"), async (form) => {
    const { pair, ...texts } = Object.fromEntries(form);
    const added = await attempt(() => call<Entry>("POST", "v1/memory/entries", { ...pairOf(String(pair)), ...texts }));
    if (added) reload();
    return added !== undefined;
  });
}

async function importFile(file: File, reload: () => void): Promise<void> {
  const form = new FormData();
  form.set("file", file);
  const counts = await attempt(() => call<Imported>("POST", "v1/memory/import", form));
  if (!counts) return;
  notify(t("memory.imported", { ...counts }));
  reload();
}
