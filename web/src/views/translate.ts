// Two panes: a text and its translation as it is typed.

import { ApiError } from "../api/client";
import { withSentence } from "../api/places";
import { translateStream } from "../api/stream";
import type { Translation } from "../api/types";
import { debounce, fill, h } from "../dom";
import { percent, t } from "../i18n";
import { icon } from "../icons";
import { openApiCall } from "../parts/api-call";
import { type Change, saveCorrections } from "../parts/correction";
import { dropFiles } from "../parts/drop";
import { openHistory, remember } from "../parts/history";
import { type Languages, languageBar } from "../parts/language-bar";
import { announce, explain } from "../parts/notice";
import { OutputPane } from "../parts/output-pane";
import { PartialTranslation } from "../parts/partial";
import { lookedAt, type ShownWord } from "../parts/reading";
import { sentenceList } from "../parts/sentences";
import { SourcePane } from "../parts/source-pane";
import type { Mark } from "../parts/source-box";
import { stopListening } from "../parts/speech";
import { closeCard, openWord } from "../parts/word-card";
import { canTranslate, sources, targetsOf } from "../server";
import { change, settings } from "../settings";
import type { View } from "../shell";
import { translateFiles } from "./documents";

/** What the section keeps while the person is elsewhere. */
const state: Languages & { text: string; translation: Translation | undefined; seconds: number } = {
  text: "",
  source: "",
  target: "",
  detected: null,
  translation: undefined,
  seconds: 0,
};

export function translateView(): View {
  chooseLanguages();
  const view = new TranslateView();
  return { element: view.element, leave: () => view.leave() };
}

/** The languages of last time, where this server has them. */
function chooseLanguages(): void {
  if (state.source && targetsOf(state.source).includes(state.target)) return;
  state.source = settings.source === "auto" || sources().includes(settings.source) ? settings.source : "auto";
  const targets = targetsOf(state.source);
  const likely = [settings.target, settings.language === "zh" ? "zh" : "de", "en"];
  state.target = likely.find((code) => targets.includes(code)) ?? targets[0] ?? "en";
}

/** The language of the source as far as it is known. */
const spoken = (): string => (state.source === "auto" ? (state.detected?.language ?? "") : state.source);

class TranslateView {
  readonly element: HTMLElement;
  private readonly source = new SourcePane(
    state.text,
    {
      spoken,
      target: () => state.target,
      translation: () => (this.output.stale ? undefined : state.translation),
      typed: (text) => this.typed(text),
      cleared: () => ((state.text = ""), this.translate()),
      mark: (chosen) => this.output.reading.mark(chosen),
      files: (files) => translateFiles(files, spoken(), state.target),
    },
    () => this.translate(),
  );
  private readonly output = new OutputPane({
    look: (word) => this.look(word),
    open: (word) => this.open(word),
    save: (changes) => this.save(changes),
  });
  private readonly languages = languageBar(
    (source, target) => this.setPair(source, target),
    () => this.swap(),
  );
  private readonly more = h("div", { class: "more" });
  private readonly later = debounce(
    () => this.translate(),
    () => 250 + Math.min(state.text.length / 4, 750),
  );
  private running: AbortController | undefined;
  private retry = 0;

  constructor() {
    this.element = h(
      "div",
      { class: "translate" },
      h("h1", { class: "unseen", tabindex: -1 }, t("nav.translate")),
      this.languages.element,
      h("div", { class: "panes" }, this.source.element, this.output.element),
      this.more,
    );
    dropFiles(this.element, (files) => translateFiles(files, spoken(), state.target));
    this.languages.show(state);
    this.show();
  }

  leave(): void {
    this.later.cancel();
    this.running?.abort();
    clearTimeout(this.retry);
    this.source.leave();
    stopListening();
    closeCard();
  }

  // Languages

  private setPair(source: string, target: string): void {
    state.source = source;
    state.target = canTranslate(source, target) ? target : (targetsOf(source)[0] ?? target);
    if (source !== "auto") state.detected = null;
    change({ source: state.source, target: state.target });
    this.languages.show(state);
    this.translate();
  }

  private swap(): void {
    const source = spoken() || targetsOf(state.target)[0] || "";
    if (!canTranslate(state.target, source)) return;
    if (state.translation) this.setText(state.translation.text);
    this.setPair(state.target, source);
  }

  private setText(text: string): void {
    state.text = text;
    this.source.set(text);
  }

  private typed(text: string): void {
    state.text = text;
    closeCard();
    this.output.expect();
    this.later();
  }

  // The translation

  private async translate(): Promise<void> {
    this.later.cancel();
    this.running?.abort();
    clearTimeout(this.retry);
    closeCard();
    const text = state.text;
    if (!text.trim()) {
      Object.assign(state, { translation: undefined, detected: null });
      this.languages.show(state);
      return this.show();
    }
    const running = new AbortController();
    this.running = running;
    this.output.expect();
    this.output.busy(true);
    const partial = new PartialTranslation(text, state.target);
    try {
      state.seconds = await translateStream(
        { text, source: state.source, target: state.target },
        {
          start: ({ detected }) => {
            state.detected = detected;
            this.languages.detected(state);
          },
          partial: (sentence, source, made) => this.output.stream(partial.add(sentence, source, made), state.target),
          translation: (translation) => this.translated(text, translation),
        },
        running.signal,
      );
      this.output.showFacts(state.seconds);
    } catch (error) {
      if (running.signal.aborted) return;
      this.failed(error);
    } finally {
      if (this.running === running) this.output.busy(false);
    }
  }

  private translated(text: string, translation: Translation): void {
    state.translation = translation;
    this.show();
    announce(translation.text);
    const { target } = state;
    remember({ source: spoken(), target, text, translation: translation.text, time: new Date().toISOString() });
  }

  private failed(error: unknown): void {
    if (error instanceof ApiError && error.status === 429) {
      this.retry = window.setTimeout(() => this.translate(), 1000 * Math.max(1, error.retryAfter));
    }
    state.translation = undefined;
    this.show();
    this.output.problem(explain(error));
  }

  private show(): void {
    const { translation } = state;
    this.output.show(translation, state.target);
    this.output.showFacts(state.seconds);
    this.source.mark([]);
    fill(
      this.more,
      h("div", { class: "row" }, this.buttons()),
      translation &&
        translation.sentences.length > 0 &&
        sentenceList(translation, spoken(), state.target, (index, text) => this.replace(index, text)),
    );
  }

  private buttons(): (HTMLElement | false)[] {
    const { text, source, target } = state;
    const button = (run: () => void, name: Parameters<typeof icon>[0], label: string, attributes: object = {}) =>
      h("button", { class: "quiet-button", onclick: run, ...attributes }, icon(name), label);
    return [
      button(() => this.toggleShading(), "shade", t("translate.shading"), { "aria-pressed": String(settings.shading) }),
      button(() => openHistory((entry) => this.again(entry)), "clock", t("translate.history")),
      text.trim() !== "" && button(() => openApiCall({ text, source, target }), "code", t("translate.api")),
    ];
  }

  private toggleShading(): void {
    change({ shading: !settings.shading });
    this.show();
    this.more.querySelector<HTMLElement>("button[aria-pressed]")?.focus();
  }

  private again(entry: { source: string; target: string; text: string }): void {
    this.setText(entry.text);
    this.setPair(entry.source || "auto", entry.target);
  }

  // Words

  private look(word: ShownWord | undefined): void {
    const seen = word ? lookedAt(word) : [];
    const offset = word?.sentence.source_start;
    const whole = word?.sentence.origin === "memory" && typeof offset === "number";
    const marks: Mark[] =
      typeof offset === "number"
        ? seen.map(({ start, end, share }) => ({ start: offset + start, end: offset + end, weight: share }))
        : [];
    if (whole) marks.push({ start: offset, end: word.sentence.source_end ?? offset, weight: 0.3 });
    this.source.mark(marks);
    if (word && document.activeElement === this.output.reading.element) {
      const sources = seen
        .slice(0, 3)
        .map(({ text, share }) => t("translate.lookedAt", { word: text, share: percent(share) }));
      announce(
        sources.length > 0 ? t("translate.looked", { word: word.text, sources: sources.join(", ") }) : word.text,
      );
    }
  }

  private open(word: ShownWord): void {
    const { reading } = this.output;
    closeCard();
    reading.hold(true);
    const where = { back: reading.element, closed: () => reading.hold(false) };
    openWord(word, spoken(), state.target, where, (text) => this.replace(word.sentenceIndex, text));
  }

  /** Puts another translation of a sentence in place of the one that is there. */
  private replace(index: number, text: string): void {
    const changed = state.translation && withSentence(state.translation, index, text);
    if (!changed) return;
    state.translation = changed;
    this.show();
    announce(text);
  }

  private async save(changes: Change[]): Promise<void> {
    const pair = { source: spoken(), target: state.target };
    if (!(await saveCorrections(changes, pair, () => this.translate()))) return;
    await this.translate();
    this.output.reading.element.focus();
  }
}
