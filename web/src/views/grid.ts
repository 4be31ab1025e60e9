// A project: its segments in a grid, to be read, corrected and confirmed from the keyboard.

import { address, call, download } from "../api/client";
import type { Page, Project, Segment } from "../api/types";
import { debounce, fill, h } from "../dom";
import { direction, duration, number, t } from "../i18n";
import { icon } from "../icons";
import { confirmDeletion } from "../parts/dialog";
import { choose, heading, loading } from "../parts/fields";
import { attempt, notify } from "../parts/notice";
import { SegmentRow } from "../parts/segment-row";
import type { View } from "../shell";

const STEP = 100;

export function gridView(id: string): View {
  const grid = new Grid(id);
  grid.open();
  return { element: grid.element, leave: () => grid.leave() };
}

class Grid {
  readonly element = h("div", { class: "stack" }, loading());
  private readonly head = h("div", { class: "stack tight" });
  private readonly list = h("ol", {
    class: "plain segments",
    "aria-label": t("grid.label"),
    onactivate: (event: Event) => this.activated(event),
  });
  private readonly foot = h("div", { class: "row between" });
  private readonly query = h("input", { type: "search", "aria-label": t("grid.find"), placeholder: t("grid.find") });
  private readonly search = debounce(
    () => this.load(),
    () => 250,
  );
  private readonly recount = debounce(
    () => this.refresh(),
    () => 400,
  );
  private rows: SegmentRow[] = [];
  private project: Project | undefined;
  private status = "";
  private order = "position";
  private timer = 0;
  private gone = false;

  constructor(private readonly id: string) {
    this.query.addEventListener("input", this.search);
    window.addEventListener("pagehide", this.saveAll);
  }

  private get path(): string {
    return `v1/projects/${this.id}`;
  }

  async open(): Promise<void> {
    const project = await attempt(() => call<Project>("GET", this.path));
    if (!project || this.gone) return;
    this.project = project;
    fill(
      this.element,
      h("a", { class: "back", href: "#/projects" }, icon("back"), t("projects.title")),
      this.head,
      this.filters(),
      h("p", { class: "keys quiet small" }, t("grid.keys")),
      this.list,
      this.foot,
    );
    this.showHead();
    await this.load();
    this.watch();
  }

  leave(): void {
    this.gone = true;
    clearTimeout(this.timer);
    this.search.cancel();
    this.recount.cancel();
    window.removeEventListener("pagehide", this.saveAll);
    this.saveAll();
  }

  private readonly saveAll = () => Promise.all(this.rows.map((row) => row.save()));

  /** Reads the project again while the machine is still translating it, and the segments unless somebody is among them. */
  private watch(): void {
    if (this.project?.state !== "translating" || this.gone) return;
    this.timer = window.setTimeout(async () => {
      await this.refresh();
      if (!this.busy) await this.load(0, () => !this.busy);
      this.watch();
    }, 1200);
  }

  private async refresh(): Promise<void> {
    const project = await attempt(() => call<Project>("GET", this.path));
    if (!project || this.gone) return;
    this.project = project;
    this.showHead();
  }

  private showHead(): void {
    const project = this.project!;
    const { confirmed, total, empty } = project.segments;
    const progress = t("projects.progress", { confirmed: number(confirmed), total: number(total) });
    const facts = [
      direction(project.source, project.target),
      progress,
      project.edit_seconds ? t("projects.time", { time: duration(project.edit_seconds) }) : "",
    ];
    const save = (format: string, label: string) =>
      h(
        "button",
        { onclick: () => attempt(() => download(address(`${this.path}/export`, { format }), project.name)) },
        icon("download"),
        label,
      );
    const open = this.head.querySelector("details")?.open;
    const exports = h(
      "details",
      { class: "menu", open },
      h("summary", { class: "button" }, icon("download"), t("action.export")),
      h(
        "div",
        { class: "row" },
        save("text", t("projects.exportText")),
        save("document", t("projects.exportDocument")),
        save("bilingual", t("projects.exportBilingual")),
        save("tmx", t("projects.exportTmx")),
      ),
    );
    const translate = () =>
      attempt(() => call<Project>("POST", `${this.path}/translate`))
        .then(() => this.refresh())
        .then(() => this.watch());
    const remove = () =>
      confirmDeletion(t("projects.deleteSure", { name: project.name }), async () => {
        await attempt(() => call("DELETE", this.path));
        this.rows = [];
        location.hash = "#/projects";
      });
    fill(
      this.head,
      heading(
        project.name,
        facts.filter(Boolean).join(" · "),
        empty > 0 &&
          project.state !== "translating" &&
          h("button", { onclick: translate }, t("projects.translateRest")),
        project.state === "translating" &&
          h("span", { class: "badge running", role: "status" }, t("state.translating")),
        exports,
        h(
          "button",
          { class: "tool", "aria-label": t("action.delete"), title: t("action.delete"), onclick: remove },
          icon("trash"),
        ),
      ),
      h("progress", { value: confirmed, max: Math.max(total, 1), "aria-label": progress }),
      project.error && h("p", { class: "problem" }, project.error),
    );
  }

  private filters(): HTMLElement {
    const statuses = (["empty", "machine", "draft", "confirmed"] as const).map((value) => ({
      value,
      label: t(`status.${value}`),
    }));
    const narrow = (value: string) => {
      this.status = value;
      this.load();
    };
    const sort = (value: string) => {
      this.order = value;
      this.load();
    };
    const orders = [
      { value: "position", label: t("grid.byPosition") },
      { value: "confidence", label: t("grid.byConfidence") },
    ];
    return h(
      "div",
      { class: "row filters" },
      this.query,
      h(
        "label",
        { class: "row" },
        t("grid.filter"),
        choose({}, [{ value: "", label: t("grid.all") }, ...statuses], "", narrow),
      ),
      h("label", { class: "row" }, t("grid.order"), choose({}, orders, this.order, sort)),
    );
  }

  /** Somebody is among the segments. */
  private get busy(): boolean {
    return this.list.contains(document.activeElement);
  }

  /** Reads segments, from the first or further ones; `wanted` is asked once they are there whether to show them. */
  private async load(offset = 0, wanted = () => true): Promise<void> {
    const query = { status: this.status, order: this.order, q: this.query.value, offset, limit: STEP };
    if (offset === 0) await this.saveAll();
    const page = await attempt(() => call<Page<Segment>>("GET", address(`${this.path}/segments`, query)));
    if (!page || this.gone || !wanted()) return;
    const fresh = page.items.map((segment) => new SegmentRow(segment, this.project!, this.neighbours));
    this.rows = offset === 0 ? fresh : [...this.rows, ...fresh];
    if (offset === 0) this.list.replaceChildren();
    this.list.append(...fresh.map(({ element }) => element));
    const shown = this.rows.length;
    fill(
      this.foot,
      h(
        "p",
        { class: "quiet small" },
        page.total === 0 ? t("grid.none") : t("list.shown", { shown: number(shown), total: number(page.total) }),
      ),
      shown < page.total && h("button", { onclick: () => this.load(shown) }, t("action.more")),
    );
  }

  private readonly neighbours = {
    changed: () => this.recount(),
    onward: (from: SegmentRow) => {
      const index = this.rows.indexOf(from);
      const next = [...this.rows.slice(index + 1), ...this.rows.slice(0, index)].find((row) => !row.confirmed);
      if (next) next.focus();
      else notify(t("grid.allDone"));
    },
    move: (from: SegmentRow, step: number) => this.rows[this.rows.indexOf(from) + step]?.focus(),
  };

  private activated(event: Event): void {
    for (const row of this.rows) if (row.element !== event.target) row.rest();
  }
}
