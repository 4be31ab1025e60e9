// The box for the source text. Behind the transparent text area lies the same text with words marked: a text area
// itself cannot mark anything. The copy also makes the box as high as its text.

import { fill, h } from "../dom";
import { t } from "../i18n";
import { Points } from "../text";

export interface Mark {
  start: number;
  end: number;
  /** How strongly, 0 to 1. */
  weight: number;
}

export interface SourceBox {
  element: HTMLElement;
  area: HTMLTextAreaElement;
  /** Marks parts of the text, in code points; none where the list is empty. Returns the first mark's element. */
  mark(marks: Mark[]): HTMLElement | undefined;
}

export function sourceBox(
  text: string,
  handlers: { input: () => void; caret: (start: number, end: number) => void },
): SourceBox {
  const copy = h("div", { class: "copy", "aria-hidden": "true" });
  const area = h("textarea", {
    "aria-label": t("translate.source"),
    placeholder: t("translate.placeholder"),
    spellcheck: "true",
    value: text,
  });
  const mark = (marks: Mark[]): HTMLElement | undefined => {
    const points = new Points(area.value);
    const parts: (string | HTMLElement)[] = [];
    let place = 0;
    for (const { start, end, weight } of [...marks].sort((a, b) => a.start - b.start)) {
      if (start < place) continue;
      const strength = weight >= 0.5 ? "strong" : weight >= 0.2 ? "middle" : "weak";
      parts.push(points.slice(place, start), h("mark", { class: strength }, points.slice(start, end)));
      place = end;
    }
    // The closing space gives the last line its height when the text ends with a line break.
    fill(copy, ...parts, points.slice(place), "\u200b");
    return copy.querySelector<HTMLElement>("mark") ?? undefined;
  };
  area.addEventListener("input", () => {
    mark([]);
    handlers.input();
  });
  const caret = () => {
    if (document.activeElement !== area) return;
    const points = new Points(area.value);
    handlers.caret(points.at(area.selectionStart), points.at(area.selectionEnd));
  };
  for (const event of ["keyup", "mouseup"]) area.addEventListener(event, caret);
  mark([]);
  return { element: h("div", { class: "source-box" }, copy, area), area, mark };
}
