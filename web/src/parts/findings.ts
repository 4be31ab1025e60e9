// What is known of a translation as a whole, and what the checks found.

import type { Check, Translation } from "../api/types";
import { type Child, h } from "../dom";
import { languageName, member, number, percent, t } from "../i18n";
import { icon } from "../icons";

/** A mark for each thing that may be wrong; the server's own words are its title. */
export function findings(checks: Check[]): HTMLElement[] {
  return checks.map(({ kind, message, value }) =>
    h(
      "span",
      { class: "badge warning", title: message },
      icon("warning"),
      member("check", kind, message),
      value && `: ${value}`,
    ),
  );
}

/** Where a translation came from, how sure the model was, how long it took. */
export function provenance(translation: Translation, seconds: number): Child[] {
  const { confidence, sentences, checks } = translation;
  const matches = sentences.filter(({ origin }) => origin === "memory").map(({ match }) => match ?? 100);
  const machine = sentences.some(({ origin }) => origin === "machine");
  const between = sentences.find(({ pivot }) => pivot)?.pivot?.language;
  const facts = [
    machine && confidence !== null && t("translate.sure", { confidence: percent(confidence) }),
    between && t("translate.through", { language: languageName(between) }),
    matches.length > 0 && t("translate.fromMemory", { match: Math.min(...matches) }),
    seconds > 0 && t("translate.seconds", { seconds: number(seconds, 2) }),
  ];
  return [...findings(checks), facts.filter(Boolean).join(" · ")];
}
