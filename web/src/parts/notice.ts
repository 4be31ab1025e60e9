// Short messages at the edge of the page, read out by screen readers; errors stay until they are closed.

import { ApiError } from "../api/client";
import { h } from "../dom";
import { member, t, type Values } from "../i18n";
import { icon } from "../icons";

let region: HTMLElement | undefined;
let spoken: HTMLElement | undefined;

function place(): HTMLElement {
  if (!region?.isConnected) {
    region = h("div", { class: "notices", role: "region", "aria-live": "polite", "aria-label": "Regard" });
    document.body.append(region);
  }
  return region;
}

/** Shows a message for some seconds, perhaps with something to do about it. */
export function notify(text: string, action?: { label: string; run: () => void }): void {
  const notice = h("div", { class: "notice" }, h("span", {}, text));
  if (action) {
    const run = () => {
      notice.remove();
      action.run();
    };
    notice.append(h("button", { class: "link", onclick: run }, action.label));
  }
  place().append(notice);
  setTimeout(() => notice.remove(), action ? 10_000 : 5_000);
}

/** What an error means, in the person's language where the page knows it, else in the server's words. */
export function explain(error: unknown): string {
  if (error instanceof ApiError) {
    const fallback = error.message || t("error.unknown", { message: error.status });
    return member("error", error.code, fallback, (error.details ?? {}) as Values);
  }
  return t("error.unknown", { message: error instanceof Error ? error.message : String(error) });
}

/** Shows an error until the person closes it or goes elsewhere. One that was abandoned on purpose is none. */
export function showProblem(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  const close = h(
    "button",
    { class: "tool", "aria-label": t("action.close"), onclick: () => notice.remove() },
    icon("clear"),
  );
  const notice = h(
    "div",
    { class: "notice problem", role: "alert" },
    icon("warning"),
    h("span", {}, explain(error)),
    close,
  );
  place().append(notice);
}

export function dismissNotices(): void {
  for (const each of region?.querySelectorAll(".problem") ?? []) each.remove();
}

/** Says something to screen readers only. */
export function announce(text: string): void {
  if (!spoken?.isConnected) {
    spoken = h("div", { class: "unseen", "aria-live": "polite" });
    document.body.append(spoken);
  }
  spoken.textContent = text;
}

/** Runs something that may fail because of the server, and shows what went wrong; `undefined` then. */
export async function attempt<Result>(action: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await action();
  } catch (error) {
    showProblem(error);
    return undefined;
  }
}
