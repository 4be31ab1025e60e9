// The choice of the two languages.

import type { Detection } from "../api/types";
import { fill, h } from "../dom";
import { languageName, percent, t } from "../i18n";
import { sources, targetsOf } from "../server";
import { choose, languageChoices, toolButton } from "./fields";

export interface Languages {
  source: string;
  target: string;
  /** What the source was taken for, where it was to be found out. */
  detected: Detection | null;
}

export interface LanguageBar {
  element: HTMLElement;
  show(languages: Languages): void;
  /** Shows what was detected, unless the person is just choosing. */
  detected(languages: Languages): void;
}

export function languageBar(choice: (source: string, target: string) => void, swap: () => void): LanguageBar {
  const element = h("div", { class: "languages" });
  const show = ({ source, target, detected }: Languages) => {
    const focused = element.contains(document.activeElement) ? document.activeElement?.id : undefined;
    const auto =
      source === "auto" && detected
        ? t("language.detected", {
            language: languageName(detected.language),
            confidence: percent(detected.confidence),
          })
        : t("language.auto");
    const known = [{ value: "auto", label: auto }, ...languageChoices(sources())];
    const reached = languageChoices(targetsOf(source));
    fill(
      element,
      choose({ "aria-label": t("language.source"), id: "source" }, known, source, (code) => choice(code, target)),
      toolButton("swap", t("language.swap"), swap, { id: "swap" }),
      choose({ "aria-label": t("language.target"), id: "target" }, reached, target, (code) => choice(source, code)),
    );
    if (focused) document.getElementById(focused)?.focus();
  };
  const detected = (languages: Languages) => {
    if (!element.contains(document.activeElement)) show(languages);
  };
  return { element, show, detected };
}
