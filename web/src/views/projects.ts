// Projects for proofreading: a list of them; one of them is a grid of segments.

import { address, call, upload } from "../api/client";
import type { Page, Project } from "../api/types";
import { h } from "../dom";
import { direction, number, t, when } from "../i18n";
import { icon } from "../icons";
import { openForm } from "../parts/dialog";
import { field, heading } from "../parts/fields";
import { listing } from "../parts/listing";
import { attempt, notify } from "../parts/notice";
import { pairField, pairOf } from "../parts/pair";
import { server } from "../server";
import type { View } from "../shell";
import { gridView } from "./grid";

export function projectsView(id: string): View {
  return id ? gridView(id) : allProjects();
}

function allProjects(): View {
  const list = listing<Project>(
    (range) => call<Page<Project>>("GET", address("v1/projects", range)),
    projectRow,
    () => t("projects.empty"),
  );
  list.reload();
  const button = h("button", { class: "primary", onclick: newProject }, icon("plus"), t("projects.new"));
  return {
    element: h("div", { class: "stack" }, heading(t("projects.title"), t("projects.lead"), button), list.element),
  };
}

function projectRow(project: Project): HTMLElement {
  const { confirmed, total } = project.segments;
  const progress = t("projects.progress", { confirmed: number(confirmed), total: number(total) });
  return h(
    "li",
    { class: "entry row between" },
    h(
      "div",
      { class: "grow" },
      h("a", { class: "title", href: `#/projects/${project.id}` }, project.name),
      h("p", { class: "quiet small" }, `${direction(project.source, project.target)} · ${when(project.created)}`),
    ),
    h(
      "div",
      { class: "share" },
      h("progress", { value: confirmed, max: Math.max(total, 1), "aria-label": progress }),
      h("p", { class: "quiet small" }, progress),
    ),
  );
}

function newProject(): void {
  const file = h("input", {
    type: "file",
    name: "file",
    accept: server.status?.formats.map((format) => `.${format}`).join(","),
  });
  const fields = [
    field(t("projects.name"), h("input", { name: "name", required: true, autocomplete: "off" })),
    field(t("language.pair"), pairField()),
    field(t("projects.text"), h("textarea", { name: "text", rows: 6 })),
    field(t("projects.orFile"), file),
  ];
  openForm(t("projects.new"), fields, t("action.create"), async (form) => {
    const project = await attempt(() => create(form));
    if (project) location.hash = `#/projects/${project.id}`;
    return project !== undefined;
  });
}

async function create(form: FormData): Promise<Project | undefined> {
  const name = String(form.get("name")).trim();
  const { source, target } = pairOf(String(form.get("pair")));
  const file = form.get("file");
  if (file instanceof File && file.size > 0) {
    const body = new FormData();
    for (const [key, value] of Object.entries({ name, source, target })) body.set(key, value);
    body.set("file", file);
    return upload<Project>("v1/projects", body, () => {});
  }
  const text = String(form.get("text"));
  if (text.trim()) return call<Project>("POST", "v1/projects", { name, source, target, text });
  notify(t("projects.needContent"));
  return undefined;
}
