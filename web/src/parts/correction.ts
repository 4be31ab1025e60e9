// Correcting a translation: a field for each sentence, so that the memory learns sentences.

import { call } from "../api/client";
import type { Correction, Translation } from "../api/types";
import { h } from "../dom";
import { member, t } from "../i18n";
import { attempt, notify } from "./notice";
import type { Pair } from "./pair";

export interface Change {
  source: string;
  before: string;
  after: string;
}

/** Sends corrections and says what became of them; `again` is called when the person takes them back. */
export async function saveCorrections(changes: Change[], pair: Pair, again: () => void): Promise<boolean> {
  const send = ({ source, before, after }: Change) =>
    call<Correction>("POST", "v1/corrections", { ...pair, source_text: source, machine_text: before, text: after });
  const saved = await attempt(() => Promise.all(changes.map(send)));
  if (!saved) return false;
  const takeBack = () => Promise.all(saved.map(({ id }) => call("DELETE", `v1/corrections/${id}`)));
  const undo = { label: t("action.undo"), run: () => attempt(takeBack).then(again) };
  const reasons = saved.filter(({ accepted }) => !accepted).flatMap((correction) => correction.reasons);
  if (saved.length === 0) notify(t("translate.unchanged"));
  else if (reasons.length === 0) notify(t("translate.corrected"), undo);
  else notify(t("translate.heldBack", { reasons: reasons.map((reason) => member("reason", reason)).join(", ") }), undo);
  return true;
}

export function correctionForm(
  translation: Translation,
  target: string,
  { cancel, save }: { cancel: () => void; save: (changes: Change[]) => void },
): HTMLFormElement {
  const several = translation.sentences.length > 1;
  const fields = translation.sentences.map((sentence, index) => {
    const area = h("textarea", { lang: target, value: sentence.text, rows: 1, id: `correction-${index}` });
    const label = several ? sentence.source : t("translate.correctLabel");
    return { sentence, area, label: h("label", { for: area.id, class: several ? "quiet" : "unseen" }, label) };
  });
  const submit = (event: Event) => {
    event.preventDefault();
    const changes = fields.map(({ sentence, area }) => ({
      source: sentence.source,
      before: sentence.machine ?? sentence.text,
      after: area.value.trim(),
    }));
    save(changes.filter(({ before, after }) => after !== before));
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Escape") cancel();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  };
  return h(
    "form",
    { class: "correction stack", onsubmit: submit, onkeydown: keys },
    ...fields.map(({ label, area }) => h("div", { class: "field" }, label, area)),
    h(
      "div",
      { class: "row between" },
      h("span", { class: "quiet small" }, t("translate.correctHint")),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", onclick: cancel }, t("action.cancel")),
        h("button", { class: "primary" }, t("action.save")),
      ),
    ),
  );
}
