// The translation as something to read and to look into. To a screen reader it is a text that cannot be edited; the arrow
// keys go from word to word, and what a word looked at is said. With the mouse: hover, and click for other words.

import type { Sentence, Translation } from "../api/types";
import { fill, h } from "../dom";
import { percent, t } from "../i18n";
import { settings } from "../settings";
import { Points, wordsOf } from "../text";

/** Below these probabilities a word is marked as unsure, and as very unsure. */
const UNSURE = 0.5;
const VERY_UNSURE = 0.25;

/** The classes that mark a word of this probability. */
export const shade = (sure: number): string => (sure >= UNSURE ? "" : sure >= VERY_UNSURE ? " unsure" : " very unsure");

/** A word as it stands on the page; `index` is null where the sentence is only known as a whole. */
export interface ShownWord {
  sentence: Sentence;
  sentenceIndex: number;
  index: number | null;
  text: string;
  /** Where it begins in the sentence, in code points. */
  start: number;
  element: HTMLElement;
}

export interface Reading {
  element: HTMLElement;
  /** Shows what there is of a translation that is still being made. */
  stream(text: string): void;
  show(translation: Translation | undefined, target: string): void;
  /** Marks the words that look at a word of the source. */
  mark(wanted: (word: ShownWord) => boolean): void;
  /** Keeps the word that is looked at as it is, while a card beside it is open. */
  hold(held: boolean): void;
}

export interface ReadingHandlers {
  /** A word is looked at (by mouse or key), or none any more. */
  look(word: ShownWord | undefined): void;
  open(word: ShownWord): void;
}

export function reading(handlers: ReadingHandlers): Reading {
  let words: ShownWord[] = [];
  let active = -1;
  let held = false;
  const element = h("div", {
    class: "reading",
    role: "textbox",
    "aria-readonly": "true",
    "aria-multiline": "true",
    "aria-label": t("translate.output"),
    "aria-description": t("translate.outputHint"),
    tabindex: 0,
  });

  const activate = (index: number) => {
    if (held || index === active) return;
    words[active]?.element.classList.remove("active");
    active = index;
    words[active]?.element.classList.add("active");
    handlers.look(words[active]);
  };
  const find = (target: EventTarget | null) => {
    const span = target instanceof Element ? target.closest<HTMLElement>(".word") : null;
    return words.findIndex((word) => word.element === span);
  };

  element.addEventListener("mouseover", (event) => activate(find(event.target)));
  element.addEventListener("mouseleave", () => activate(-1));
  element.addEventListener("blur", () => activate(-1));
  element.addEventListener("click", (event) => {
    const index = find(event.target);
    if (index < 0 || getSelection()?.isCollapsed === false) return;
    activate(index);
    handlers.open(words[index]!);
  });
  element.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step && words.length > 0) activate(Math.min(Math.max(active + step, 0), words.length - 1));
    else if (event.key === "Home") activate(0);
    else if (event.key === "End") activate(words.length - 1);
    else if (event.key === "Enter" && words[active]) handlers.open(words[active]!);
    else if (event.key === "Escape") activate(-1);
    else return;
    event.preventDefault();
    words[active]?.element.scrollIntoView({ block: "nearest" });
  });

  return {
    element,
    stream(text) {
      words = [];
      active = -1;
      fill(element, text);
    },
    show(translation, target) {
      active = -1;
      words = [];
      element.lang = target;
      if (translation) fill(element, ...parts(translation, target, words));
      else fill(element, h("span", { class: "quiet" }, t("translate.empty")));
    },
    mark(wanted) {
      for (const word of words) word.element.classList.toggle("linked", wanted(word));
    },
    hold(wanted) {
      held = wanted;
      if (!held && document.activeElement !== element) activate(-1);
    },
  };
}

/** The pieces of a translation: words, and what stands between them. Fills `words`. */
function parts(translation: Translation, target: string, words: ShownWord[]): (string | HTMLElement)[] {
  const text = new Points(translation.text);
  const found: (string | HTMLElement)[] = [];
  let place = 0;
  translation.sentences.forEach((sentence, index) => {
    if (sentence.start === null || sentence.end === null) return; // markup: shown as it is
    found.push(text.slice(place, sentence.start), ...inSentence(sentence, index, target, words));
    place = sentence.end;
  });
  found.push(text.slice(place));
  return found;
}

function inSentence(
  sentence: Sentence,
  sentenceIndex: number,
  target: string,
  words: ShownWord[],
): (string | HTMLElement)[] {
  if (sentence.origin === "memory") {
    const element = h(
      "span",
      { class: "word memory", title: t("translate.fromMemory", { match: sentence.match ?? 100 }) },
      sentence.text,
    );
    words.push({ sentence, sentenceIndex, index: null, text: sentence.text, start: 0, element });
    return [element];
  }
  const text = new Points(sentence.text);
  const found: (string | HTMLElement)[] = [];
  let place = 0;
  const known = sentence.words.length > 0;
  for (const [i, word] of (known ? sentence.words : wordsOf(sentence.text, target)).entries()) {
    const sure = "confidence" in word ? (word.confidence as number) : 1;
    const shading = settings.shading ? shade(sure) : "";
    const title = shading ? t("word.confidence", { confidence: percent(sure) }) : undefined;
    const element = h("span", { class: `word${shading}`, title }, text.slice(word.start, word.end));
    words.push({ sentence, sentenceIndex, index: known ? i : null, text: word.text, start: word.start, element });
    found.push(text.slice(place, word.start), element);
    place = word.end;
  }
  found.push(text.slice(place));
  return found;
}

/** The words of the source that a word looked at, strongest first, with their shares of its attention. */
export function lookedAt(
  { sentence, index }: ShownWord,
  least = 0.1,
): { word: number; text: string; start: number; end: number; share: number }[] {
  const { alignment } = sentence;
  if (!alignment || index === null) return [];
  return alignment.source_words
    .map((word, i) => ({ word: i, ...word, share: alignment.weights[index]?.[i] ?? 0 }))
    .filter(({ share }) => share >= least)
    .sort((a, b) => b.share - a.share);
}
