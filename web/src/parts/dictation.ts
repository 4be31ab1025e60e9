// The microphone button: what is said is added to a text.

import { t } from "../i18n";
import { toolButton } from "./fields";
import { dictate } from "./speech";

export class Dictation {
  readonly button: HTMLButtonElement;
  private stopping: (() => void) | undefined;

  /**
   * @param language what is spoken, asked when it begins
   * @param area where it is written; `changed` is called after each change
   */
  constructor(language: () => string, area: HTMLTextAreaElement, changed: () => void) {
    this.button = toolButton("microphone", t("translate.dictate"), () => {
      if (this.stopping) return this.stopping();
      const before = area.value && !/\s$/.test(area.value) ? `${area.value} ` : area.value;
      const heard = (text: string) => {
        area.value = before + text;
        changed();
      };
      this.stopping = dictate(language(), heard, () => this.ended());
      this.button.setAttribute("aria-pressed", "true");
    });
    this.button.setAttribute("aria-pressed", "false");
  }

  stop(): void {
    this.stopping?.();
  }

  private ended(): void {
    this.stopping = undefined;
    this.button.setAttribute("aria-pressed", "false");
  }
}
