// One segment of the proofreading grid: its source, its translation in a field that saves itself, and what is known of both.

import { call } from "../api/client";
import type { Comment, Match, Project, Segment, SegmentStatus } from "../api/types";
import { type Child, debounce, fill, h } from "../dom";
import { duration, member, number, percent, t, when } from "../i18n";
import { icon } from "../icons";
import { findings } from "./findings";
import { FluencyLine } from "./fluency";
import { announce, attempt, explain, notify } from "./notice";
import { Saver } from "./saver";

const AUTOSAVE = 700; // milliseconds without a key

export interface Neighbours {
  /** The segment was saved: counts may have changed. */
  changed(): void;
  /** Goes to the next segment that is still to be confirmed. */
  onward(from: SegmentRow): void;
  move(from: SegmentRow, step: number): void;
}

export class SegmentRow {
  readonly element: HTMLLIElement;
  readonly area: HTMLTextAreaElement;
  private readonly state = h("p", { class: "state small quiet", "aria-live": "polite" });
  private readonly marks = h("div", { class: "marks" });
  private readonly panel = h("div", { class: "panel-slot" });
  private readonly clash = h("div", {});
  private readonly fluency = new FluencyLine();
  private readonly later = debounce(
    () => this.save(),
    () => AUTOSAVE,
  );
  private readonly saver: Saver;
  private matches: Match[] = [];

  constructor(
    private segment: Segment,
    private readonly project: Project,
    private readonly neighbours: Neighbours,
  ) {
    const number = segment.position + 1;
    this.area = h("textarea", {
      lang: project.target,
      "aria-label": t("grid.targetOf", { number }),
      rows: 1,
      value: segment.text,
      oninput: () => this.typed(),
      onkeydown: (event) => this.key(event),
      onblur: () => this.save(),
    });
    this.element = h(
      "li",
      { class: "segment", "aria-label": t("grid.segment", { number }), onfocusin: () => this.activate() },
      h("span", { class: "number quiet small" }, number),
      h("p", { class: "source", lang: project.source }, segment.source_text),
      h("div", { class: "target" }, this.area, this.clash, this.fluency.element),
      this.marks,
      this.panel,
    );
    this.saver = new Saver(segment, {
      saving: () => fill(this.state, t("grid.saving")),
      saved: (saved) => this.saved(saved),
      conflict: (theirs) => this.conflict(theirs),
      failed: (error) =>
        fill(this.state, h("span", { class: "problem" }, t("grid.notSaved", { reason: explain(error) }))),
    });
    this.showMarks();
  }

  get confirmed(): boolean {
    return this.segment.status === "confirmed";
  }

  get position(): number {
    return this.segment.position;
  }

  /** Saves what waits to be saved. */
  save(status?: SegmentStatus): Promise<boolean> {
    this.later.cancel();
    if (this.clash.hasChildNodes()) return Promise.resolve(false);
    return this.saver.save(this.area.value, status);
  }

  focus(): void {
    this.area.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** Puts the panel away; another segment is being worked on. */
  rest(): void {
    this.element.classList.remove("active");
    this.panel.replaceChildren();
    this.fluency.clear();
  }

  private typed(): void {
    this.saver.touch();
    this.later();
  }

  private key(event: KeyboardEvent): void {
    this.saver.touch();
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key === "Enter") this.confirm();
    else if (event.altKey && !control && event.key === "ArrowDown") this.neighbours.move(this, 1);
    else if (event.altKey && !control && event.key === "ArrowUp") this.neighbours.move(this, -1);
    else if (event.altKey && !control && /^Digit[1-5]$/.test(event.code)) this.take(Number(event.code.slice(-1)) - 1);
    else if (control && event.altKey && event.code === "KeyZ") this.step(event.shiftKey ? "redo" : "undo");
    else return;
    event.preventDefault();
  }

  private async confirm(): Promise<void> {
    if (!(await this.save("confirmed"))) return;
    announce(t("grid.confirmed", { number: this.position + 1 }));
    this.neighbours.onward(this);
  }

  private async step(way: "undo" | "redo"): Promise<void> {
    if (await this.save()) await this.saver.step(way);
  }

  private take(index: number): void {
    const match = this.matches[index];
    if (match) this.write(match.target_text);
  }

  private write(text: string): void {
    this.area.value = text;
    this.area.focus();
    this.typed();
  }

  private saved(segment: Segment): void {
    const typedMeanwhile =
      this.area.value !== this.segment.text && this.area.value !== segment.text && document.activeElement === this.area;
    const undone = segment.text !== this.area.value && !typedMeanwhile;
    this.segment = segment;
    if (undone) this.area.value = segment.text;
    fill(this.state, t("grid.saved"));
    this.showMarks();
    if (this.element.classList.contains("active")) {
      this.showPanel();
      this.fluency.show(this.segment, this.project);
    }
    const { correction } = segment;
    if (correction && !correction.accepted) {
      notify(t("grid.heldBack", { reasons: correction.reasons.map((reason) => member("reason", reason)).join(", ") }));
    }
    this.neighbours.changed();
  }

  /** Both versions stand side by side until the person has chosen one. */
  private conflict(theirs: Segment): void {
    const mine = this.area.value;
    const end = (text: string) => {
      this.clash.replaceChildren();
      this.element.classList.remove("clash");
      this.saver.adopt(theirs);
      this.segment = theirs;
      this.area.value = text;
      this.area.focus();
      if (text === theirs.text) this.saved(theirs);
      else this.save();
    };
    this.element.classList.add("clash");
    fill(this.state);
    fill(
      this.clash,
      h("p", { role: "alert", class: "problem" }, icon("warning"), t("grid.conflict")),
      h(
        "div",
        { class: "versions" },
        version(t("grid.mine"), mine, this.project.target, t("grid.keepMine"), () => end(mine)),
        version(t("grid.theirs"), theirs.text, this.project.target, t("grid.takeTheirs"), () => end(theirs.text)),
      ),
    );
  }

  // What is known of the segment

  private showMarks(): void {
    const { status, origin, match, confidence, checks, comments, edit_distance, edit_seconds } = this.segment;
    this.element.dataset.status = status;
    const told = origin === null || (origin === "machine" && status === "machine");
    const from =
      !told && h("span", { class: `badge ${origin}` }, member("origin", origin), match !== null && ` ${match}%`);
    const edited = edit_distance
      ? t("grid.edits", { distance: number(edit_distance), time: duration(edit_seconds) })
      : "";
    fill(
      this.marks,
      h("span", { class: `badge ${status}` }, status === "confirmed" && icon("check"), member("status", status)),
      from,
      confidence !== null &&
        origin === "machine" &&
        h(
          "span",
          { class: "quiet small", title: t("translate.sure", { confidence: percent(confidence) }) },
          percent(confidence),
        ),
      ...findings(checks),
      comments > 0 && h("span", { class: "badge" }, icon("comment"), number(comments)),
      edited && h("span", { class: "quiet small" }, edited),
    );
  }

  private activate(): void {
    if (this.element.classList.contains("active")) return;
    this.element.dispatchEvent(new CustomEvent("activate", { bubbles: true }));
    this.element.classList.add("active");
    this.showPanel();
    this.fluency.show(this.segment, this.project);
    this.findMatches();
  }

  private readonly matchPlace = h("div", { class: "stack tight" });

  private showPanel(): void {
    const focused =
      document.activeElement instanceof HTMLElement && this.panel.contains(document.activeElement)
        ? document.activeElement.dataset.act
        : undefined;
    const button = (act: string, label: Child, run: () => void, attributes: object = {}) =>
      h("button", { "data-act": act, onclick: run, ...attributes }, label);
    const { machine_text: machine, can_undo, can_redo } = this.segment;
    fill(
      this.panel,
      h(
        "div",
        { class: "row" },
        this.confirmed
          ? button("reopen", t("grid.reopen"), () => this.save("draft"))
          : button("confirm", [icon("check"), t("grid.confirm")], () => this.confirm(), { class: "primary" }),
        button("undo", [icon("undo"), t("action.undo")], () => this.step("undo"), { disabled: !can_undo }),
        button("redo", t("action.redo"), () => this.step("redo"), { disabled: !can_redo }),
        machine && machine !== this.area.value && button("machine", t("grid.useMachine"), () => this.write(machine)),
        button("comments", [icon("comment"), t("grid.comments")], () => this.openComments()),
        this.state,
      ),
      this.matchPlace,
    );
    if (focused) this.panel.querySelector<HTMLElement>(`[data-act="${focused}"]`)?.focus();
  }

  private async findMatches(): Promise<void> {
    const { source, target } = this.project;
    const body = { text: this.segment.source_text, source, target, limit: 5 };
    const found = await attempt(() => call<{ matches: Match[] }>("POST", "v1/memory/search", body));
    if (!found) return;
    this.matches = found.matches;
    const row = (match: Match, index: number) =>
      h(
        "li",
        { class: "match" },
        h("span", { class: "badge memory" }, `${match.match}%`),
        h(
          "div",
          { class: "grow" },
          h("p", { class: "quiet", lang: source }, ...match.difference.map(difference)),
          h("p", { lang: target }, match.target_text),
        ),
        h(
          "button",
          { class: "small", "aria-label": t("grid.take", { number: index + 1 }), onclick: () => this.take(index) },
          `Alt+${index + 1}`,
        ),
      );
    fill(
      this.matchPlace,
      h("h2", { class: "caption" }, t("grid.matches")),
      found.matches.length > 0
        ? h("ul", { class: "plain" }, ...found.matches.map(row))
        : h("p", { class: "quiet small" }, t("grid.noMatches")),
    );
  }

  private async openComments(): Promise<void> {
    const path = `v1/segments/${this.segment.id}/comments`;
    const page = await attempt(() => call<{ items: Comment[] }>("GET", path));
    if (!page) return;
    const input = h("input", {
      name: "text",
      "aria-label": t("grid.comment"),
      placeholder: t("grid.comment"),
      required: true,
      autocomplete: "off",
    });
    const submit = async (event: Event) => {
      event.preventDefault();
      if (!(await attempt(() => call("POST", path, { text: input.value })))) return;
      this.segment = { ...this.segment, comments: this.segment.comments + 1 };
      this.showMarks();
      await this.openComments();
    };
    const row = ({ text, author, created }: Comment) =>
      h("li", {}, text, h("span", { class: "quiet small" }, ` ${author}, ${when(created)}`));
    fill(
      this.matchPlace,
      h("h2", { class: "caption" }, t("grid.comments")),
      page.items.length > 0
        ? h("ul", { class: "plain" }, ...page.items.map(row))
        : h("p", { class: "quiet small" }, t("grid.noComments")),
      h("form", { class: "row", onsubmit: submit }, input, h("button", {}, t("action.add"))),
    );
    input.focus();
  }
}

function version(label: string, text: string, language: string, action: string, run: () => void): HTMLElement {
  return h(
    "section",
    { "aria-label": label },
    h("h2", { class: "caption" }, label),
    h("p", { lang: language }, text),
    h("button", { onclick: run }, action),
  );
}

function difference([kind, text]: [string, string]): Child {
  return kind === "insert" ? h("ins", {}, text) : kind === "delete" ? h("del", {}, text) : text;
}
