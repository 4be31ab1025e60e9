// Corrections, and what the model learnt from them: tested before it is used, and to be taken back.

import { address, call } from "../api/client";
import type { Adapter, Correction, Page, Report, Run } from "../api/types";
import { fill, h } from "../dom";
import { direction, member, number, t, when } from "../i18n";
import { icon } from "../icons";
import { heading } from "../parts/fields";
import { listing } from "../parts/listing";
import { attempt, explain, notify } from "../parts/notice";
import { type Pair, pairField, pairOf } from "../parts/pair";
import { server } from "../server";
import type { View } from "../shell";

export function learningView(): View {
  const view = new LearningView();
  return { element: view.element, leave: () => view.leave() };
}

class LearningView {
  readonly element: HTMLElement;
  private readonly pairSelect = pairField();
  private readonly adapters = h("section", { class: "stack", "aria-label": t("learning.adapters") });
  private readonly progress = h("div", { class: "stack tight", "aria-live": "polite" });
  private readonly start = h(
    "button",
    { class: "primary", onclick: () => this.learn() },
    icon("play"),
    t("learning.start"),
  );
  private accepted = true;
  private timer = 0;
  private readonly corrections = listing<Correction>(
    (range) =>
      call<Page<Correction>>("GET", address("v1/corrections", { ...this.pair, ...range, accepted: this.accepted })),
    (correction) => this.correctionRow(correction),
    () => t("learning.noCorrections"),
  );

  private readonly runs = listing<Run>(
    (range) => call<Page<Run>>("GET", address("v1/learn", { ...this.pair, ...range })),
    runRow,
    () => t("learning.noRuns"),
  );

  constructor() {
    this.pairSelect.setAttribute("aria-label", t("language.pair"));
    this.pairSelect.addEventListener("change", () => this.reload());
    const learning = server.status?.learning;
    this.start.disabled = !learning?.available;
    this.element = h(
      "div",
      { class: "stack" },
      heading(t("learning.title"), t("learning.lead"), this.pairSelect, this.start),
      learning &&
        !learning.available &&
        h("p", { class: "note" }, t("learning.unavailable", { reason: learning.reason ?? "" })),
      this.progress,
      this.adapters,
      h("h2", {}, t("learning.runs")),
      this.runs.element,
      h("h2", {}, t("learning.corrections")),
      this.filter(),
      this.corrections.element,
    );
    this.reload();
  }

  leave(): void {
    clearTimeout(this.timer);
  }

  private get pair(): Pair {
    return pairOf(this.pairSelect.value);
  }

  private async reload(): Promise<void> {
    clearTimeout(this.timer);
    fill(this.progress);
    this.corrections.reload();
    this.runs.reload();
    const path = (name: string, range = {}) => address(`v1/${name}`, { ...this.pair, ...range });
    const [adapters, newest] = await Promise.all([
      attempt(() => call<Page<Adapter>>("GET", path("adapters"))),
      attempt(() => call<Page<Run>>("GET", path("learn", { limit: 1 }))),
    ]);
    if (adapters) this.showAdapters(adapters.items);
    const [run] = newest?.items ?? [];
    if (run && isUnfinished(run)) this.follow(run); // begun elsewhere, or before the page was left
  }

  /** Corrections in use, or those that the filter held back. */
  private filter(): HTMLElement {
    const button = (label: string, accepted: boolean) =>
      h(
        "button",
        {
          "aria-pressed": String(this.accepted === accepted),
          onclick: (event) => choose(event.currentTarget as HTMLElement, accepted),
        },
        label,
      );
    const choose = (chosen: HTMLElement, accepted: boolean) => {
      this.accepted = accepted;
      for (const each of group.children) each.setAttribute("aria-pressed", String(each === chosen));
      this.corrections.reload();
    };
    const group = h(
      "div",
      { class: "segmented", role: "group", "aria-label": t("learning.corrections") },
      button(t("learning.accepted"), true),
      button(t("learning.held"), false),
    );
    return group;
  }

  private correctionRow(correction: Correction): HTMLElement {
    const act = (method: string, suffix: string) =>
      attempt(() => call(method, `v1/corrections/${correction.id}${suffix}`)).then(() => this.corrections.reload());
    const label = `${t("action.delete")}: ${correction.text}`;
    return h(
      "li",
      { class: "entry" },
      h("p", { class: "quiet", lang: correction.source }, correction.source_text),
      correction.machine_text && h("p", { lang: correction.target }, h("del", {}, correction.machine_text)),
      h("p", { lang: correction.target }, h("ins", {}, correction.text)),
      h(
        "div",
        { class: "row between small quiet" },
        h(
          "span",
          {},
          [when(correction.created), ...correction.reasons.map((reason) => member("reason", reason))].join(" · "),
        ),
        h(
          "span",
          { class: "row" },
          !correction.accepted &&
            h("button", { class: "small", onclick: () => act("POST", "/accept") }, t("learning.accept")),
          h(
            "button",
            { class: "tool", "aria-label": label, title: t("action.delete"), onclick: () => act("DELETE", "") },
            icon("trash"),
          ),
        ),
      ),
    );
  }

  // Adapters

  private showAdapters(adapters: Adapter[]): void {
    const active = adapters.some((adapter) => adapter.active);
    const back = async () => {
      if (await attempt(() => call("POST", "v1/adapters/rollback", this.pair))) notify(t("learning.rolledBack"));
      this.reload();
    };
    fill(
      this.adapters,
      h(
        "div",
        { class: "row between" },
        h("h2", {}, t("learning.adapters")),
        active && h("button", { onclick: back }, icon("undo"), t("learning.rollback")),
      ),
      adapters.length === 0
        ? h("p", { class: "quiet empty" }, t("learning.noAdapters"))
        : h("ul", { class: "plain entries" }, ...adapters.map((adapter) => this.adapterRow(adapter))),
    );
  }

  private adapterRow(adapter: Adapter): HTMLElement {
    const act = (method: string, suffix: string) =>
      attempt(() => call(method, `v1/adapters/${adapter.id}${suffix}`)).then(() => this.reload());
    return h(
      "li",
      { class: "entry stack tight" },
      h(
        "div",
        { class: "row between" },
        h("span", {}, t("learning.from", { count: number(adapter.corrections), time: when(adapter.created) })),
        h(
          "span",
          { class: "row" },
          adapter.active
            ? h("span", { class: "badge confirmed" }, t("learning.active"))
            : h("button", { class: "small", onclick: () => act("POST", "/activate") }, t("learning.activate")),
          !adapter.active &&
            h(
              "button",
              {
                class: "tool",
                "aria-label": t("action.delete"),
                title: t("action.delete"),
                onclick: () => act("DELETE", ""),
              },
              icon("trash"),
            ),
        ),
      ),
      adapter.report && "examples" in adapter.report && reportOf(adapter.report, adapter),
    );
  }

  // Learning

  private async learn(): Promise<void> {
    this.start.disabled = true;
    try {
      await this.follow(await call<Run>("POST", "v1/learn", this.pair));
    } catch (error) {
      fill(this.progress, h("p", { class: "note" }, explain(error)));
      this.start.disabled = false;
    }
  }

  private async follow(run: Run): Promise<void> {
    if (isUnfinished(run)) {
      this.start.disabled = true;
      const label = t("learning.running", { count: number(run.corrections) });
      fill(this.progress, h("p", {}, label), h("progress", { value: run.progress, "aria-label": label }));
      this.timer = window.setTimeout(async () => {
        const next = await attempt(() => call<Run>("GET", `v1/learn/${run.id}`));
        if (next) this.follow(next);
      }, 1500);
      return;
    }
    this.start.disabled = false;
    await this.reload();
    const text =
      run.state === "failed"
        ? (run.error ?? "")
        : t(run.state === "admitted" ? "learning.admitted" : "learning.rejected");
    fill(
      this.progress,
      h("p", { class: "note" }, text),
      run.report && run.state === "rejected" && reportOf(run.report, run),
    );
  }
}

const isUnfinished = ({ state }: Run): boolean => state === "queued" || state === "running";

/** What became of one attempt to learn. */
function runRow(run: Run): HTMLElement {
  const label = isUnfinished(run) ? t("learning.at") : member("state", run.state);
  return h(
    "li",
    { class: "entry stack tight" },
    h(
      "div",
      { class: "row between" },
      h("span", {}, t("learning.from", { count: number(run.corrections), time: when(run.created) })),
      h("span", { class: run.state === "admitted" ? "badge confirmed" : "badge" }, label),
    ),
    run.error && h("p", { class: "quiet small" }, run.error),
    run.report && "examples" in run.report && reportOf(run.report, run),
  );
}

/** Before and after: two figures, and sentences that came out differently. */
function reportOf(report: Report, pair: Pair): HTMLElement {
  const row = (label: string, before: number, after: number) =>
    h("tr", {}, h("th", { scope: "row" }, label), h("td", {}, number(before, 1)), h("td", {}, number(after, 1)));
  return h(
    "details",
    {},
    h("summary", {}, `${report.metric} ${number(report.held_out_before, 1)} → ${number(report.held_out_after, 1)}`),
    h(
      "table",
      { class: "figures" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, report.metric),
          h("th", { scope: "col" }, t("learning.before")),
          h("th", { scope: "col" }, t("learning.after")),
        ),
      ),
      h(
        "tbody",
        {},
        row(t("learning.heldOut"), report.held_out_before, report.held_out_after),
        row(t("learning.general"), report.general_before, report.general_after),
      ),
    ),
    h("h3", {}, t("learning.examples")),
    h(
      "ul",
      { class: "plain entries", "aria-label": direction(pair.source, pair.target) },
      ...report.examples.map((example) => exampleRow(example, pair)),
    ),
  );
}

function exampleRow(example: Report["examples"][number], { source, target }: Pair): HTMLElement {
  return h(
    "li",
    { class: "entry small" },
    h("p", { class: "quiet", lang: source }, example.source),
    h("p", { lang: target }, h("span", { class: "badge" }, t("learning.before")), " ", example.before),
    h("p", { lang: target }, h("span", { class: "badge confirmed" }, t("learning.after")), " ", example.after),
    h(
      "p",
      { class: "quiet", lang: target },
      h("span", { class: "badge" }, t("learning.reference")),
      " ",
      example.reference,
    ),
  );
}
