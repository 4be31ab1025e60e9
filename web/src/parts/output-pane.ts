// The pane that shows a translation: its words, its tools, where it came from, and the form that corrects it.

import type { Translation } from "../api/types";
import { type Child, fill, h } from "../dom";
import { t } from "../i18n";
import { icon } from "../icons";
import { type Change, correctionForm } from "./correction";
import { toolButton } from "./fields";
import { provenance } from "./findings";
import { notify, showProblem } from "./notice";
import { type Reading, reading, type ShownWord } from "./reading";
import { canListen, listen } from "./speech";
import { closeCard } from "./word-card";

export interface OutputOwner {
  /** The mouse or the keyboard stands on a word, or on none. */
  look(word: ShownWord | undefined): void;
  open(word: ShownWord): void;
  save(changes: Change[]): void;
}

export class OutputPane {
  readonly element: HTMLElement;
  readonly reading: Reading;
  private readonly output = h("div", { class: "output" });
  private readonly tools = h("div", { class: "row" });
  private readonly facts = h("p", { class: "provenance quiet small" });
  private translation: Translation | undefined;
  private target = "";

  constructor(private readonly owner: OutputOwner) {
    this.reading = reading({ look: (word) => owner.look(word), open: (word) => owner.open(word) });
    fill(this.output, this.reading.element);
    this.element = h(
      "section",
      { class: "pane result", "aria-label": t("translate.output") },
      this.output,
      h("div", { class: "foot" }, this.tools, this.facts),
    );
  }

  /** Whether what is shown belongs to a text that has changed since. */
  get stale(): boolean {
    return this.output.classList.contains("stale");
  }

  expect(): void {
    this.output.classList.add("stale");
  }

  busy(busy: boolean): void {
    if (busy) this.output.setAttribute("aria-busy", "true");
    else this.output.removeAttribute("aria-busy");
  }

  show(translation: Translation | undefined, target: string): void {
    Object.assign(this, { translation, target });
    this.output.classList.remove("stale", "correcting");
    this.showReading();
    this.reading.show(translation, target);
    this.showTools();
  }

  /** What there is so far of a translation. */
  stream(text: string, target: string): void {
    this.showReading();
    this.output.classList.remove("stale");
    this.reading.element.lang = target;
    this.reading.stream(text);
  }

  showFacts(seconds: number): void {
    fill(this.facts, this.translation && provenance(this.translation, seconds));
  }

  problem(explanation: string): void {
    this.output.classList.remove("stale");
    fill(this.output, h("p", { class: "problem", role: "alert" }, icon("warning"), explanation));
  }

  /** Puts the translation where a form or an error stood; left alone where it is, since it may have the focus. */
  private showReading(): void {
    if (this.output.firstChild !== this.reading.element) fill(this.output, this.reading.element);
  }

  private showTools(): void {
    const { translation, target } = this;
    const disabled = translation === undefined;
    const text = translation?.text ?? "";
    const tools: Child[] = [
      canListen() && toolButton("listen", t("translate.listenTarget"), () => listen(text, target), { disabled }),
      toolButton("copy", t("translate.copy"), () => copy(text), { disabled }),
      h(
        "button",
        { class: "quiet-button", disabled, onclick: () => this.correct() },
        icon("edit"),
        t("translate.correct"),
      ),
    ];
    fill(this.tools, tools);
  }

  private correct(): void {
    const { translation, target } = this;
    if (!translation) return;
    closeCard();
    const form = correctionForm(translation, target, {
      cancel: () => (this.show(translation, target), this.reading.element.focus()),
      save: (changes) => this.owner.save(changes),
    });
    this.output.classList.add("correcting");
    fill(this.output, form);
    fill(this.tools);
    form.querySelector("textarea")?.focus();
  }
}

async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    notify(t("translate.copied"));
  } catch (error) {
    showProblem(error);
  }
}
