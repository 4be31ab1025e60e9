// What there is to say about a word, in a card beside it: what it looked at, what could stand instead, the dictionary.

import { call } from "../api/client";
import { type Child, h } from "../dom";
import { percent, t } from "../i18n";
import { asked, dictionary } from "./dictionary";
import { lookedAt, type ShownWord } from "./reading";

interface Alternative {
  text: string;
  next: string;
  confidence: number;
}

let open: { card: HTMLElement; abort: AbortController; back: HTMLElement; closed: () => void } | undefined;

/** Where the focus goes when the card is closed by key or by a choice, and what else is to be done then. */
interface CardPlace {
  back: HTMLElement;
  closed?: () => void;
}

/** Closes the card, if one is open, and gives the focus back where `focus` says so. */
export function closeCard(focus = false): void {
  if (!open) return;
  const { card, abort, back, closed } = open;
  open = undefined;
  abort.abort();
  card.remove();
  if (focus) back.focus();
  closed();
}

function openCard(
  title: string,
  anchor: HTMLElement,
  { back, closed = () => {} }: CardPlace,
  parts: (signal: AbortSignal) => Child[],
): HTMLElement {
  closeCard();
  const abort = new AbortController();
  const card = h("div", { class: "card", role: "dialog", "aria-label": title, tabindex: -1 }, ...parts(abort.signal));
  open = { card, abort, back, closed };
  card.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...card.querySelectorAll<HTMLElement>("button")];
    buttons[(buttons.indexOf(document.activeElement as HTMLElement) + step + buttons.length) % buttons.length]?.focus();
  });
  document.body.append(card);
  place(card, anchor);
  new ResizeObserver(() => place(card, anchor)).observe(card);
  const { signal } = abort;
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeCard(true), { signal });
  document.addEventListener(
    "pointerdown",
    (event) => event.target instanceof Node && !card.contains(event.target) && closeCard(),
    { signal },
  );
  return card;
}

/** Under the word where there is room, else above it; always within the window. */
function place(card: HTMLElement, anchor: HTMLElement): void {
  const word = anchor.getClientRects()[0] ?? anchor.getBoundingClientRect();
  const room = document.documentElement.clientWidth - card.offsetWidth - 8;
  const below =
    word.bottom + card.offsetHeight + 12 < document.documentElement.clientHeight || word.top < card.offsetHeight + 12;
  card.style.left = `${Math.max(8, Math.min(word.left, room)) + scrollX}px`;
  card.style.top = `${(below ? word.bottom + 6 : word.top - card.offsetHeight - 6) + scrollY}px`;
}

/** Opens the card of a word of the translation; `choose` gets the sentence as it would go on with another word. */
export function openWord(
  word: ShownWord,
  source: string,
  target: string,
  where: CardPlace,
  choose: (text: string) => void,
): void {
  if (word.sentence.origin === "memory") {
    openCard(word.text, word.element, where, () => [
      h("p", {}, t("word.memory")),
      h("p", { class: "quiet small" }, t("translate.fromMemory", { match: word.sentence.match ?? 100 })),
    ]).focus();
    return;
  }
  const seen = lookedAt(word);
  const card = openCard(t("word.title", { word: word.text }), word.element, where, (signal) => [
    seen.length > 0 && [
      h("h2", { class: "caption" }, t("word.lookedAt")),
      h("ul", { class: "looked" }, ...seen.slice(0, 4).map(({ text, share }) => bar(text, share, source))),
    ],
    h("h2", { class: "caption" }, t("word.alternatives")),
    alternatives(word, source, target, choose, signal),
    seen[0] && dictionary(seen[0].text, word.sentence, source, target, signal),
  ]);
  card.focus({ preventScroll: true });
}

/** Opens the dictionary for a word that was selected in the source, where the focus stays: the person may be typing on. */
export function openSource(
  word: string,
  sentence: { source: string; text: string },
  anchor: HTMLElement,
  source: string,
  target: string,
  where: CardPlace,
): void {
  openCard(t("word.title", { word }), anchor, where, (signal) => [dictionary(word, sentence, source, target, signal)]);
}

function bar(text: string, share: number, language: string): HTMLElement {
  const filled = h("span", {});
  filled.style.width = `${100 * share}%`;
  return h(
    "li",
    {},
    h("span", { lang: language }, text),
    h("span", { class: "bar", "aria-hidden": "true" }, filled),
    h("span", {}, percent(share)),
  );
}

function alternatives(
  word: ShownWord,
  source: string,
  target: string,
  choose: (text: string) => void,
  signal: AbortSignal,
): HTMLElement {
  const prefix = Array.from(word.sentence.text).slice(0, word.start).join("");
  const body = { text: word.sentence.source, source, target, prefix, limit: 5 };
  const show = ({ alternatives: found }: { alternatives: Alternative[] }) => {
    const others = found.filter(({ text }) => text !== word.sentence.text);
    if (others.length === 0) return [h("p", { class: "quiet" }, t("word.noAlternatives"))];
    const take = (text: string) => (closeCard(true), choose(text));
    const button = ({ text, next, confidence }: Alternative) =>
      h(
        "li",
        {},
        h(
          "button",
          { class: "choice", onclick: () => take(text) },
          h("b", { lang: target }, next),
          h("span", { lang: target }, text),
          h("i", {}, percent(confidence)),
        ),
      );
    return [h("ul", { class: "plain" }, ...others.map(button))];
  };
  return asked(call<{ alternatives: Alternative[] }>("POST", "v1/alternatives", body, signal), show);
}
