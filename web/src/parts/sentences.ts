// A translation sentence by sentence: where each comes from, how sure the model was, what was found wrong.

import type { Sentence, Translation } from "../api/types";
import { type Child, h } from "../dom";
import { languageName, member, percent, t } from "../i18n";
import { icon } from "../icons";
import { findings } from "./findings";

export function sentenceList(
  translation: Translation,
  source: string,
  target: string,
  replace: (index: number, text: string) => void,
): HTMLElement {
  const row = (sentence: Sentence, index: number): HTMLElement =>
    h(
      "li",
      { class: "entry" },
      h("p", { lang: source, class: "quiet" }, sentence.source),
      sentence.pivot &&
        h(
          "p",
          { class: "quiet small" },
          `${languageName(sentence.pivot.language)}: `,
          h("span", { lang: sentence.pivot.language }, sentence.pivot.text),
        ),
      h("p", { lang: target }, sentence.text),
      h("p", { class: "row small" }, ...facts(sentence)),
      sentence.alternatives.length > 0 &&
        h(
          "div",
          { class: "row small" },
          h("span", { class: "quiet" }, t("translate.other")),
          ...sentence.alternatives.map(({ text }) =>
            h("button", { class: "choice small", lang: target, onclick: () => replace(index, text) }, text),
          ),
        ),
    );
  return h(
    "details",
    { class: "sentences" },
    h("summary", {}, t("translate.details")),
    h("ul", { class: "plain entries" }, ...translation.sentences.map(row)),
  );
}

function facts(sentence: Sentence): Child[] {
  return [
    h(
      "span",
      { class: `badge ${sentence.origin}` },
      member("origin", sentence.origin),
      sentence.match !== null && ` ${sentence.match}%`,
    ),
    sentence.confidence !== null &&
      sentence.origin === "machine" &&
      h("span", { class: "quiet" }, t("translate.sure", { confidence: percent(sentence.confidence) })),
    !sentence.finished && h("span", { class: "badge warning" }, icon("warning"), t("translate.unfinished")),
    ...sentence.terms.map((term) =>
      h("span", { class: term.kept ? "badge term" : "badge warning" }, `${term.source} → ${term.target}`),
    ),
    ...findings(sentence.checks),
  ];
}
