// Two panes: a text and its translation as it is typed.

import { ApiError } from "../api/client";
import { sentenceAt, withSentence, wordsLookingAt } from "../api/places";
import { translateStream } from "../api/stream";
import type { Translation } from "../api/types";
import { debounce, fill, h } from "../dom";
import { number, percent, t } from "../i18n";
import { icon } from "../icons";
import { openApiCall } from "../parts/api-call";
import { type Change, correctionForm, saveCorrections } from "../parts/correction";
import { Dictation } from "../parts/dictation";
import { dropFiles } from "../parts/drop";
import { fileButton, toolButton } from "../parts/fields";
import { provenance } from "../parts/findings";
import { openHistory, remember } from "../parts/history";
import { type Languages, languageBar } from "../parts/language-bar";
import { announce, explain, notify, showProblem } from "../parts/notice";
import { PartialTranslation } from "../parts/partial";
import { lookedAt, reading, type ShownWord } from "../parts/reading";
import { sentenceList } from "../parts/sentences";
import { type Mark, sourceBox } from "../parts/source-box";
import { canDictate, canListen, listen, stopListening } from "../parts/speech";
import { closeCard, openSource, openWord } from "../parts/word-card";
import { canTranslate, server, sources, targetsOf } from "../server";
import { change, settings } from "../settings";
import type { View } from "../shell";
import { Points } from "../text";
import { translateFiles } from "./documents";

/** What the section keeps while the person is elsewhere. */
const state: Languages & { text: string; translation: Translation | undefined; seconds: number } = { text: "", source: "", target: "", detected: null, translation: undefined, seconds: 0 };

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

class TranslateView {
  readonly element: HTMLElement;
  private readonly box = sourceBox(state.text, {
    input: () => this.typed(),
    caret: (start, end) => this.caret(start, end),
  });
  private readonly reading = reading({ look: (word) => this.look(word), open: (word) => this.open(word) });
  private readonly dictation = new Dictation(
    () => this.spoken || settings.language,
    this.box.area,
    () => this.typed(),
  );
  private readonly output = h("div", { class: "output" });
  private readonly languages = languageBar(
    (source, target) => this.setPair(source, target),
    () => this.swap(),
  );
  private readonly count = h("p", { class: "count quiet small" });
  private readonly provenance = h("p", { class: "provenance quiet small" });
  private readonly sourceTools = h("div", { class: "row" });
  private readonly outputTools = h("div", { class: "row" });
  private readonly more = h("div", { class: "more" });
  private readonly later = debounce(
    () => this.translate(),
    () => 250 + Math.min(state.text.length / 4, 750),
  );
  private readonly lookUp = debounce(
    () => this.openSelected(),
    () => 350,
  );
  private running: AbortController | undefined;
  private retry = 0;

  constructor() {
    const keys = (event: KeyboardEvent) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.translate();
      }
    };
    this.box.area.addEventListener("keydown", keys);
    this.element = h(
      "div",
      { class: "translate" },
      h("h1", { class: "unseen", tabindex: -1 }, t("nav.translate")),
      this.languages.element,
      h(
        "div",
        { class: "panes" },
        h(
          "section",
          { class: "pane", "aria-label": t("translate.source") },
          this.box.element,
          h("div", { class: "foot" }, this.sourceTools, this.count),
        ),
        h(
          "section",
          { class: "pane result", "aria-label": t("translate.output") },
          this.output,
          h("div", { class: "foot" }, this.outputTools, this.provenance),
        ),
      ),
      this.more,
    );
    dropFiles(this.element, (files) => translateFiles(files, this.spoken, state.target));
    fill(this.output, this.reading.element);
    this.languages.show(state);
    this.showSourceTools();
    this.show();
  }

  leave(): void {
    this.later.cancel();
    this.lookUp.cancel();
    this.running?.abort();
    clearTimeout(this.retry);
    this.dictation.stop();
    stopListening();
    closeCard();
  }

  /** The language of the source as far as it is known. */
  private get spoken(): string {
    return state.source === "auto" ? (state.detected?.language ?? "") : state.source;
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
    const source = this.spoken || targetsOf(state.target)[0] || "";
    if (!canTranslate(state.target, source)) return;
    if (state.translation) this.setText(state.translation.text);
    this.setPair(state.target, source);
  }

  // The source

  private setText(text: string): void {
    this.box.area.value = text;
    state.text = text;
    this.box.mark([]);
    this.showSourceTools();
  }

  private typed(): void {
    state.text = this.box.area.value;
    closeCard();
    this.showSourceTools();
    this.output.classList.add("stale");
    this.later();
  }

  private showSourceTools(): void {
    const limit = server.status?.limits.characters ?? Number.POSITIVE_INFINITY;
    const length = new Points(state.text).length;
    const over = length > limit;
    this.count.classList.toggle("problem", over);
    this.count.textContent = over
      ? t("translate.tooLong", { count: number(length - limit) })
      : t("translate.characters", { count: number(length), limit: number(limit) });
    const some = state.text.trim() !== "";
    const accept = server.status?.formats.map((format) => `.${format}`).join(",");
    fill(
      this.sourceTools,
      canListen() &&
        toolButton("listen", t("translate.listenSource"), () => listen(state.text, this.spoken || "en"), {
          disabled: !some,
        }),
      settings.microphone && canDictate() && this.dictation.button,
      fileButton(
        icon("file"),
        { class: "tool", "aria-label": t("translate.file"), title: t("translate.file"), accept, multiple: true },
        (files) => translateFiles(files, this.spoken, state.target),
      ),
      toolButton("clear", t("translate.clear"), () => this.clear(), { disabled: !some }),
    );
  }

  private clear(): void {
    this.setText("");
    this.translate();
    this.box.area.focus();
  }

  /** The caret stands in a word of the source: mark what came of it. A selected word is looked up. */
  private caret(start: number, end: number): void {
    this.lookUp.cancel();
    const { translation } = state;
    if (!translation || this.output.classList.contains("stale")) return;
    const sentence = sentenceAt(translation, start);
    const looking = sentence ? wordsLookingAt(sentence, start) : new Set();
    this.reading.mark(({ sentence: its, index }) => its === sentence && looking.has(index));
    if (end > start) this.lookUp();
  }

  private openSelected(): void {
    const { value, selectionStart, selectionEnd } = this.box.area;
    const term = value.slice(selectionStart, selectionEnd).trim();
    if (!term || term.length > 40 || /[\n.!?。！？]/.test(term) || !this.spoken) return;
    const points = new Points(value);
    const [start, end] = [points.at(selectionStart), points.at(selectionEnd)];
    const anchor = this.box.mark([{ start, end, weight: 1 }]);
    const context = state.translation && sentenceAt(state.translation, start)?.source;
    const where = { back: this.box.area, closed: () => this.box.mark([]) };
    if (anchor) openSource(term, context ?? term, anchor, this.spoken, state.target, where);
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
    this.output.classList.add("stale");
    this.output.setAttribute("aria-busy", "true");
    const partial = new PartialTranslation(text, state.target);
    try {
      state.seconds = await translateStream(
        { text, source: state.source, target: state.target },
        {
          start: ({ detected }) => {
            state.detected = detected;
            this.languages.detected(state);
          },
          partial: (sentence, source, made) => this.stream(partial.add(sentence, source, made)),
          translation: (translation) => this.translated(text, translation),
        },
        running.signal,
      );
      this.showProvenance();
    } catch (error) {
      if (running.signal.aborted) return;
      this.failed(error);
    } finally {
      if (this.running === running) this.output.removeAttribute("aria-busy");
    }
  }

  /** Puts the translation where a form or an error stood; left alone where it is, since it may have the focus. */
  private showReading(): void {
    if (this.output.firstChild !== this.reading.element) fill(this.output, this.reading.element);
  }

  private stream(text: string): void {
    this.showReading();
    this.output.classList.remove("stale");
    this.reading.element.lang = state.target;
    this.reading.stream(text);
  }

  private translated(text: string, translation: Translation): void {
    state.translation = translation;
    this.show();
    announce(translation.text);
    remember({
      source: this.spoken,
      target: state.target,
      text,
      translation: translation.text,
      time: new Date().toISOString(),
    });
  }

  private failed(error: unknown): void {
    if (error instanceof ApiError && error.status === 429) {
      this.retry = window.setTimeout(() => this.translate(), 1000 * Math.max(1, error.retryAfter));
    }
    state.translation = undefined;
    this.show();
    this.output.classList.remove("stale");
    fill(this.output, h("p", { class: "problem", role: "alert" }, icon("warning"), explain(error)));
  }

  private show(): void {
    const { translation } = state;
    this.output.classList.remove("stale", "correcting");
    this.showReading();
    this.reading.show(translation, state.target);
    this.box.mark([]);
    this.showOutputTools();
    this.showProvenance();
    const api =
      state.text.trim() &&
      h(
        "button",
        {
          class: "quiet-button",
          onclick: () => openApiCall({ text: state.text, source: state.source, target: state.target }),
        },
        icon("code"),
        t("translate.api"),
      );
    const shade = h(
      "button",
      { class: "quiet-button", "aria-pressed": String(settings.shading), onclick: () => this.toggleShading() },
      icon("shade"),
      t("translate.shading"),
    );
    const history = h(
      "button",
      { class: "quiet-button", onclick: () => openHistory((entry) => this.again(entry)) },
      icon("clock"),
      t("translate.history"),
    );
    fill(
      this.more,
      h("div", { class: "row" }, shade, history, api),
      translation &&
        translation.sentences.length > 0 &&
        sentenceList(translation, this.spoken, state.target, (index, text) => this.replace(index, text)),
    );
  }

  private showOutputTools(): void {
    const none = state.translation === undefined;
    const text = state.translation?.text ?? "";
    fill(
      this.outputTools,
      canListen() &&
        toolButton("listen", t("translate.listenTarget"), () => listen(text, state.target), { disabled: none }),
      toolButton("copy", t("translate.copy"), () => this.copy(text), { disabled: none }),
      h(
        "button",
        { class: "quiet-button", disabled: none, onclick: () => this.correct() },
        icon("edit"),
        t("translate.correct"),
      ),
    );
  }

  private showProvenance(): void {
    fill(this.provenance, state.translation && provenance(state.translation, state.seconds));
  }

  private toggleShading(): void {
    change({ shading: !settings.shading });
    this.show();
    [...this.more.querySelectorAll("button")].find((button) => button.hasAttribute("aria-pressed"))?.focus();
  }

  private again(entry: { source: string; target: string; text: string }): void {
    this.setText(entry.text);
    this.setPair(entry.source || "auto", entry.target);
  }

  private async copy(text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      notify(t("translate.copied"));
    } catch (error) {
      showProblem(error);
    }
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
    this.box.mark(marks);
    if (word && document.activeElement === this.reading.element) {
      const sources = seen
        .slice(0, 3)
        .map(({ text, share }) => t("translate.lookedAt", { word: text, share: percent(share) }));
      announce(
        sources.length > 0 ? t("translate.looked", { word: word.text, sources: sources.join(", ") }) : word.text,
      );
    }
  }

  private open(word: ShownWord): void {
    const where = { back: this.reading.element, closed: () => this.reading.hold(false) };
    closeCard();
    this.reading.hold(true);
    openWord(word, this.spoken, state.target, where, (text) => this.replace(word.sentenceIndex, text));
  }

  /** Puts another translation of a sentence in place of the one that is there. */
  private replace(index: number, text: string): void {
    const changed = state.translation && withSentence(state.translation, index, text);
    if (!changed) return;
    state.translation = changed;
    this.show();
    announce(text);
  }

  // Corrections

  private correct(): void {
    const { translation } = state;
    if (!translation) return;
    closeCard();
    const form = correctionForm(translation, state.target, {
      cancel: () => (this.show(), this.reading.element.focus()),
      save: (changes) => this.save(changes),
    });
    this.output.classList.add("correcting");
    fill(this.output, form);
    fill(this.outputTools);
    form.querySelector("textarea")?.focus();
  }

  private async save(changes: Change[]): Promise<void> {
    const pair = { source: this.spoken, target: state.target };
    if (!(await saveCorrections(changes, pair, () => this.translate()))) return;
    await this.translate();
    this.reading.element.focus();
  }
}
