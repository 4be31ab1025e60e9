// The pane that a text is typed into: its field, its tools, and the dictionary on a word that is selected there.

import { sentenceAt, wordsLookingAt } from "../api/places";
import type { Translation } from "../api/types";
import { debounce, fill, h } from "../dom";
import { number, t } from "../i18n";
import { icon } from "../icons";
import { server } from "../server";
import { settings } from "../settings";
import { Points } from "../text";
import { Dictation } from "./dictation";
import { fileButton, toolButton } from "./fields";
import type { ShownWord } from "./reading";
import { type Mark, sourceBox } from "./source-box";
import { canDictate, canListen, listen } from "./speech";
import { openSource } from "./word-card";

export interface SourceOwner {
  /** The language of the text as far as it is known. */
  spoken(): string;
  target(): string;
  /** The translation of what stands there; `undefined` while it is being typed. */
  translation(): Translation | undefined;
  typed(text: string): void;
  cleared(): void;
  /** Marks the words of the translation that came of the source at a place. */
  mark(chosen: (word: ShownWord) => boolean): void;
  files(files: File[]): void;
}

export class SourcePane {
  readonly element: HTMLElement;
  private readonly box;
  private readonly dictation: Dictation;
  private readonly tools = h("div", { class: "row" });
  private readonly count = h("p", { class: "count quiet small" });
  private readonly lookUp = debounce(
    () => this.openSelected(),
    () => 350,
  );

  constructor(
    private text: string,
    private readonly owner: SourceOwner,
    translateNow: () => void,
  ) {
    this.box = sourceBox(text, {
      input: () => this.typed(),
      caret: (start, end) => this.caret(start, end),
    });
    const { area } = this.box;
    this.dictation = new Dictation(
      () => owner.spoken() || settings.language,
      area,
      () => this.typed(),
    );
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        translateNow();
      }
    });
    this.element = h(
      "section",
      { class: "pane", "aria-label": t("translate.source") },
      this.box.element,
      h("div", { class: "foot" }, this.tools, this.count),
    );
    this.showTools();
  }

  /** Puts another text there, without translating it. */
  set(text: string): void {
    this.box.area.value = text;
    this.text = text;
    this.box.mark([]);
    this.showTools();
  }

  mark(marks: Mark[]): void {
    this.box.mark(marks);
  }

  leave(): void {
    this.lookUp.cancel();
    this.dictation.stop();
  }

  private typed(): void {
    this.text = this.box.area.value;
    this.showTools();
    this.owner.typed(this.text);
  }

  private showTools(): void {
    const limit = server.status?.limits.characters ?? Number.POSITIVE_INFINITY;
    const length = new Points(this.text).length;
    const over = length > limit;
    this.count.classList.toggle("problem", over);
    this.count.textContent = over
      ? t("translate.tooLong", { count: number(length - limit) })
      : t("translate.characters", { count: number(length), limit: number(limit) });
    const some = this.text.trim() !== "";
    const accept = server.status?.formats.map((format) => `.${format}`).join(",");
    fill(
      this.tools,
      canListen() &&
        toolButton("listen", t("translate.listenSource"), () => listen(this.text, this.owner.spoken() || "en"), {
          disabled: !some,
        }),
      settings.microphone && canDictate() && this.dictation.button,
      fileButton(
        icon("file"),
        { class: "tool", "aria-label": t("translate.file"), title: t("translate.file"), accept, multiple: true },
        (files) => this.owner.files(files),
      ),
      toolButton("clear", t("translate.clear"), () => this.clear(), { disabled: !some }),
    );
  }

  private clear(): void {
    this.set("");
    this.owner.cleared();
    this.box.area.focus();
  }

  /** The caret stands in a word of the source: mark what came of it. A selected word is looked up. */
  private caret(start: number, end: number): void {
    this.lookUp.cancel();
    const translation = this.owner.translation();
    if (!translation) return;
    const sentence = sentenceAt(translation, start);
    const looking = sentence ? wordsLookingAt(sentence, start) : new Set();
    this.owner.mark(({ sentence: its, index }) => its === sentence && looking.has(index));
    if (end > start) this.lookUp();
  }

  private openSelected(): void {
    const { value, selectionStart, selectionEnd } = this.box.area;
    const term = value.slice(selectionStart, selectionEnd).trim();
    const spoken = this.owner.spoken();
    if (!term || term.length > 40 || /[\n.!?。！？]/.test(term) || !spoken) return;
    const points = new Points(value);
    const [start, end] = [points.at(selectionStart), points.at(selectionEnd)];
    const anchor = this.box.mark([{ start, end, weight: 1 }]);
    const translation = this.owner.translation();
    const sentence = translation && sentenceAt(translation, start);
    const where = { back: this.box.area, closed: () => this.box.mark([]) };
    if (anchor) openSource(term, sentence ?? { source: term, text: "" }, anchor, spoken, this.owner.target(), where);
  }
}
