// Files in, translated files out.

import { address, call, download, upload } from "../api/client";
import type { DocumentJob, Page } from "../api/types";
import { fill, h } from "../dom";
import { direction, member, number, size, t, when } from "../i18n";
import { icon } from "../icons";
import { openForm } from "../parts/dialog";
import { dropFiles } from "../parts/drop";
import { choose, field, fileButton, heading, languageChoices } from "../parts/fields";
import { attempt, notify, showProblem } from "../parts/notice";
import { pairField, pairOf } from "../parts/pair";
import { canTranslate, server, sources, targetsOf } from "../server";
import { settings } from "../settings";
import type { View } from "../shell";

interface Upload {
  name: string;
  share: number;
}

const uploads = new Set<Upload>();
let shown: DocumentsView | undefined;

/** Sends files to be translated and goes to the section that shows how they get on. Asks for a language that is not known. */
export function translateFiles(files: File[], source: string, target: string): void {
  if (!canTranslate(source, target) || source === "auto") {
    const fields = [h("p", {}, files.map(({ name }) => name).join(", ")), field(t("language.pair"), pairField())];
    openForm(t("translate.file"), fields, t("nav.translate"), async (form) => {
      const pair = pairOf(String(form.get("pair")));
      translateFiles(files, pair.source, pair.target);
      return true;
    });
    return;
  }
  location.hash = "#/documents";
  for (const file of files) send(file, source, target);
}

async function send(file: File, source: string, target: string): Promise<void> {
  if (file.size > (server.status?.limits.file_bytes ?? Number.POSITIVE_INFINITY)) {
    return showProblem(new Error(`${file.name}: ${size(file.size)} > ${size(server.status!.limits.file_bytes)}`));
  }
  const form = new FormData();
  form.set("source", source);
  form.set("target", target);
  form.set("file", file);
  const going = { name: file.name, share: 0 };
  uploads.add(going);
  try {
    await upload<DocumentJob>("v1/documents", form, (share) => {
      going.share = share;
      shown?.showUploads();
    });
  } catch (error) {
    showProblem(error);
  }
  uploads.delete(going);
  shown?.showUploads();
  shown?.poll();
}

export function documentsView(): View {
  const view = new DocumentsView();
  shown = view;
  view.poll();
  return {
    element: view.element,
    leave: () => {
      shown = undefined;
      view.leave();
    },
  };
}

class DocumentsView {
  readonly element: HTMLElement;
  private readonly pair = h("div", { class: "row" });
  private readonly sending = h("ul", { class: "plain entries" });
  private readonly list = h("ul", { class: "plain entries", "aria-live": "off" });
  private readonly rows = new Map<string, { row: HTMLElement; seen: string; state: string }>();
  private source = sources().includes(settings.source) ? settings.source : (sources()[0] ?? "");
  private target = settings.target;
  private timer = 0;

  constructor() {
    if (!canTranslate(this.source, this.target)) this.target = targetsOf(this.source)[0] ?? "";
    const formats = server.status?.formats ?? [];
    const limits = t("documents.formats", {
      formats: formats.join(", "),
      size: size(server.status?.limits.file_bytes ?? 0),
    });
    const go = (files: File[]) => translateFiles(files, this.source, this.target);
    const accept = formats.map((format) => `.${format}`).join(",");
    const zone = h(
      "div",
      { class: "dropzone" },
      icon("upload"),
      h("p", {}, t("documents.drop")),
      fileButton(t("action.chooseFile"), { class: "primary", multiple: true, accept }, go),
      h("p", { class: "quiet small" }, limits),
    );
    dropFiles(zone, go);
    this.showPair();
    this.showUploads();
    this.element = h(
      "div",
      { class: "stack" },
      heading(t("documents.title"), t("documents.lead"), this.pair),
      zone,
      this.sending,
      this.list,
    );
  }

  leave(): void {
    clearTimeout(this.timer);
  }

  private showPair(): void {
    const set = (source: string, target: string) => {
      this.source = source;
      this.target = canTranslate(source, target) ? target : (targetsOf(source)[0] ?? "");
      this.showPair();
    };
    fill(
      this.pair,
      choose({ "aria-label": t("language.source") }, languageChoices(sources()), this.source, (code) =>
        set(code, this.target),
      ),
      h("span", { "aria-hidden": "true" }, "→"),
      choose({ "aria-label": t("language.target") }, languageChoices(targetsOf(this.source)), this.target, (code) =>
        set(this.source, code),
      ),
    );
  }

  showUploads(): void {
    const row = ({ name, share }: Upload) =>
      h(
        "li",
        { class: "entry" },
        t("documents.uploading", { name }),
        h("progress", { value: share, "aria-label": name }),
      );
    fill(this.sending, ...[...uploads].map(row));
  }

  /** Reads the list, and goes on doing so as long as a document is being translated. */
  async poll(): Promise<void> {
    clearTimeout(this.timer);
    const page = await attempt(() => call<Page<DocumentJob>>("GET", address("v1/documents", { limit: 100 })));
    if (!page || shown !== this) return;
    this.show(page.items);
    if (page.items.some(({ state }) => state === "queued" || state === "running")) {
      this.timer = window.setTimeout(() => this.poll(), 700);
    }
  }

  private show(jobs: DocumentJob[]): void {
    const kept = new Set(jobs.map(({ id }) => id));
    for (const [id, { row }] of this.rows) {
      if (kept.has(id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    for (const job of jobs.toReversed()) {
      const old = this.rows.get(job.id);
      const seen = JSON.stringify(job);
      if (old?.seen === seen) continue; // a row that has not changed keeps its focus
      if (old && old.state !== "done" && job.state === "done") notify(t("documents.ready", { name: job.name }));
      const row = this.row(job);
      if (old) old.row.replaceWith(row);
      else this.list.prepend(row);
      this.rows.set(job.id, { row, seen, state: job.state });
    }
    if (jobs.length === 0) fill(this.list, h("li", { class: "quiet empty" }, t("documents.empty")));
    else this.list.querySelector(".empty")?.remove();
  }

  private row(job: DocumentJob): HTMLElement {
    const path = `v1/documents/${job.id}`;
    const act = (method: string, suffix = "") => attempt(() => call(method, path + suffix)).then(() => this.poll());
    const save = (suffix: string, name: string) => attempt(() => download(path + suffix, name));
    const active = job.state === "queued" || job.state === "running";
    const { total, translated } = job.segments;
    return h(
      "li",
      { class: "entry document" },
      h(
        "div",
        { class: "row between" },
        h(
          "div",
          { class: "grow" },
          h("strong", {}, job.name),
          h(
            "p",
            { class: "quiet small" },
            `${direction(job.source, job.target)} · ${size(job.bytes)} · ${when(job.created)}`,
          ),
        ),
        h("span", { class: `badge ${job.state}` }, member("state", job.state)),
        h(
          "div",
          { class: "row" },
          job.state === "done" &&
            h(
              "button",
              { class: "primary", onclick: () => save("/result", job.name) },
              icon("download"),
              t("action.download"),
            ),
          job.state === "done" &&
            h("button", { onclick: () => save("/bilingual", `${job.name}.csv`) }, t("documents.bilingual")),
          active && h("button", { onclick: () => act("POST", "/cancel") }, t("action.cancel")),
          (job.state === "cancelled" || job.state === "failed") &&
            h("button", { onclick: () => act("POST", "/resume") }, t("documents.resume")),
          !active &&
            h(
              "button",
              {
                class: "tool",
                "aria-label": `${t("action.delete")}: ${job.name}`,
                title: t("action.delete"),
                onclick: () => act("DELETE"),
              },
              icon("trash"),
            ),
        ),
      ),
      active && h("progress", { value: translated, max: Math.max(total, 1), "aria-label": job.name }),
      h("p", { class: "quiet small" }, t("documents.progress", { done: number(translated), total: number(total) })),
      job.error && h("p", { class: "problem" }, job.error),
      job.unchanged.length > 0 &&
        h(
          "details",
          {},
          h("summary", {}, t("documents.unchanged", { count: number(job.unchanged.length) })),
          h("p", { class: "quiet small" }, t("documents.unchangedLead")),
          h("ul", { class: "small" }, ...job.unchanged.slice(0, 200).map(({ text }) => h("li", {}, text))),
        ),
    );
  }
}
