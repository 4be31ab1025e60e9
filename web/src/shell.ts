// What surrounds every section: the head of the page, the way from section to section, theme and language.
//
// Sections have addresses behind a `#`, which browsers do not send: no text, and no name, reaches a server's log.

import { ApiError } from "./api/client";
import { fill, h } from "./dom";
import { type Key, t, tag } from "./i18n";
import { icon } from "./icons";
import { loadServer, server } from "./server";
import { change, settings, type Theme } from "./settings";
import { announce, dismissNotices, explain } from "./parts/notice";
import { openSettings } from "./parts/preferences";
import { documentsView } from "./views/documents";
import { glossariesView } from "./views/glossaries";
import { learningView } from "./views/learning";
import { memoryView } from "./views/memory";
import { projectsView } from "./views/projects";
import { statusView } from "./views/status";
import { translateView } from "./views/translate";

/** A section as it is shown: an element, and what is to end when the person leaves it. */
export interface View {
  element: HTMLElement;
  leave?: () => void;
}

const SECTIONS: { name: string; label: Key; show: (parameter: string) => View }[] = [
  { name: "translate", label: "nav.translate", show: translateView },
  { name: "documents", label: "nav.documents", show: documentsView },
  { name: "projects", label: "nav.projects", show: projectsView },
  { name: "memory", label: "nav.memory", show: memoryView },
  { name: "glossaries", label: "nav.glossaries", show: glossariesView },
  { name: "learning", label: "nav.learning", show: learningView },
  { name: "status", label: "nav.status", show: statusView },
];

const THEMES: Theme[] = ["system", "light", "dark"];

let shown: View | undefined;

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Builds the page and keeps it in step with the address. */
export async function start(): Promise<void> {
  build();
  window.addEventListener("hashchange", () => {
    route();
    document.querySelector<HTMLElement>("main h1")?.focus();
  });
  await connect();
}

/** Asks the server what it can do, again and again until it answers: it may still be starting. */
async function connect(): Promise<void> {
  try {
    await loadServer();
  } catch (error) {
    const main = document.querySelector("main")!;
    fill(main, h("p", { class: "problem", role: "alert" }, icon("warning"), explain(error)));
    const hopeless = error instanceof ApiError && (error.status === 401 || error.status === 403);
    if (!hopeless) setTimeout(connect, 2000);
    return;
  }
  route();
}

function build(): void {
  document.documentElement.lang = tag();
  fill(
    document.body,
    h("a", { class: "skip", href: "#content", onclick: skip }, t("app.skip")),
    h(
      "header",
      { class: "top" },
      h(
        "a",
        { class: "brand", href: "#/translate" },
        h("img", { src: "icon.svg", alt: "", width: 28, height: 28 }),
        "Regard",
      ),
      h("nav", { "aria-label": t("app.menu") }, h("ul", {}, ...SECTIONS.map(link))),
      h("div", { class: "tools" }, languageButton(), themeButton(), settingsButton()),
    ),
    h("main", { id: "content", tabindex: -1 }),
  );
}

function link({ name, label }: (typeof SECTIONS)[number]): HTMLLIElement {
  return h("li", {}, h("a", { href: `#/${name}`, "data-section": name }, t(label)));
}

/** The link must not change the address, which names the section. */
function skip(event: Event): void {
  event.preventDefault();
  document.querySelector("main")?.focus();
}

function route(): void {
  if (!server.status) return;
  const [, name = "", parameter = ""] = location.hash.split("/");
  const section = SECTIONS.find((each) => each.name === name) ?? SECTIONS[0]!;
  shown?.leave?.();
  dismissNotices();
  announce("");
  shown = section.show(decodeURIComponent(parameter));
  fill(document.querySelector("main")!, shown.element);
  document.title = `${t(section.label)} · Regard`;
  for (const each of document.querySelectorAll<HTMLAnchorElement>("nav a[data-section]")) {
    if (each.dataset.section === section.name) {
      each.setAttribute("aria-current", "page");
      // Not scrollIntoView, after which Tab would go on from there and not from the top of the page.
      const list = each.closest("ul")!;
      list.scrollLeft = each.offsetLeft - (list.clientWidth - each.offsetWidth) / 2;
    } else each.removeAttribute("aria-current");
  }
}

/** Builds everything anew, in the other language or with other settings; what was typed is kept by the sections. */
function rebuild(focus: string): void {
  build();
  if (server.status) route();
  else connect();
  document.querySelector<HTMLElement>(focus)?.focus();
}

function languageButton(): HTMLButtonElement {
  const switchLanguage = () => {
    change({ language: settings.language === "en" ? "zh" : "en" });
    rebuild("#language");
  };
  const other = settings.language === "en" ? "zh-Hans" : "en";
  return h("button", { id: "language", class: "tool", lang: other, onclick: switchLanguage }, t("app.otherLanguage"));
}

function themeButton(): HTMLButtonElement {
  const button = h("button", {
    class: "tool",
    onclick: () => {
      const theme = THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length]!;
      change({ theme });
      applyTheme(theme);
      show();
    },
  });
  const show = () => {
    const label = t("app.theme", { theme: t(`theme.${settings.theme}`) });
    button.setAttribute("aria-label", label);
    button.title = label;
    fill(button, icon(({ system: "auto", light: "sun", dark: "moon" } as const)[settings.theme]));
  };
  show();
  return button;
}

function settingsButton(): HTMLButtonElement {
  const label = t("settings.title");
  const open = () => openSettings(() => rebuild("#settings"));
  return h(
    "button",
    { id: "settings", class: "tool", "aria-label": label, title: label, onclick: open },
    icon("settings"),
  );
}
