// What the dictionaries and the memory know of a word.

import { ApiError, call } from "../api/client";
import type { DictionaryEntry, LookUp } from "../api/types";
import { type Child, fill, h } from "../dom";
import { percent, t } from "../i18n";
import { Points } from "../text";
import { explain } from "./notice";

/** Looks a word up, as it stands in a sentence; what the sentence's translation uses of it is marked. */
export function dictionary(
  word: string,
  sentence: { source: string; text: string },
  source: string,
  target: string,
  signal: AbortSignal,
): Child[] {
  const show = ({ entries, examples }: LookUp) => [
    entries.length === 0 && h("p", { class: "quiet" }, t("word.noEntries", { word })),
    ...entries.slice(0, 6).map((entry) => entryLine(entry, sentence.text, source, target)),
    examples.length > 0 && h("h2", { class: "caption" }, t("word.examples")),
    ...examples
      .slice(0, 3)
      .map((example) =>
        h(
          "p",
          { class: "small" },
          h("span", { lang: source }, marked(example.source, example.source_spans)),
          h("br"),
          h("span", { class: "quiet", lang: target }, marked(example.target, example.target_spans)),
        ),
      ),
  ];
  const body = { word, context: sentence.source, source, target };
  return [
    h("h2", { class: "caption" }, t("word.dictionary"), " · ", h("span", { lang: source }, word)),
    asked(call<LookUp>("POST", "v1/dictionary/lookup", body, signal), show),
  ];
}

function entryLine(entry: DictionaryEntry, translation: string, source: string, target: string): HTMLElement {
  const { headword, reading, kind, senses, shares, dictionary: name } = entry;
  const used = translation.toLowerCase();
  const sense = (text: string, index: number): Child[] => [
    index > 0 && ", ",
    used.includes(text.toLowerCase()) ? h("b", { title: t("word.used") }, text) : text,
    shares && h("span", { class: "quiet small" }, ` ${percent(shares[index] ?? 0)}`),
  ];
  return h(
    "p",
    { class: "sense" },
    h("b", { lang: source }, headword),
    reading && h("span", { class: "quiet" }, ` ${reading}`),
    kind && h("i", { class: "quiet" }, ` ${kind}`),
    " – ",
    h("span", { lang: target }, ...senses.map(sense)),
    h("span", { class: "quiet small" }, ` · ${name ?? t("word.starter")}`),
  );
}

/** A text with stretches of it, given in code points, marked. */
function marked(text: string, spans: [number, number][]): Child[] {
  const points = new Points(text);
  const parts: Child[] = [];
  let place = 0;
  for (const [start, end] of spans) {
    parts.push(points.slice(place, start), h("mark", {}, points.slice(start, end)));
    place = end;
  }
  return [...parts, points.slice(place)];
}

/** A place for an answer that is still to come. */
export function asked<Answer>(answer: Promise<Answer>, show: (answer: Answer) => Child[]): HTMLElement {
  const place = h(
    "div",
    { class: "stack tight", "aria-live": "polite" },
    h("p", { class: "quiet" }, t("word.loading"), "…"),
  );
  answer.then(
    (found) => fill(place, ...show(found)),
    (error) => fill(place, h("p", { class: "quiet" }, error instanceof ApiError ? explain(error) : "")),
  );
  return place;
}
