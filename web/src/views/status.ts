// What the server is doing.

import { call } from "../api/client";
import type { Status } from "../api/types";
import { fill, h } from "../dom";
import { direction, duration, member, number, size, t } from "../i18n";
import { heading, loading } from "../parts/fields";
import { explain } from "../parts/notice";
import { server } from "../server";
import type { View } from "../shell";
import { keySection } from "./keys";

export function statusView(): View {
  const facts = h("div", {}, loading());
  const read = async () => {
    try {
      fill(facts, table(await call<Status>("GET", "v1/status")));
    } catch (error) {
      fill(facts, h("p", { class: "problem", role: "alert" }, explain(error)));
    }
  };
  read();
  const timer = setInterval(read, 3000);
  return {
    element: h(
      "div",
      { class: "stack" },
      heading(t("server.title"), t("server.lead"), h("a", { class: "button", href: "docs" }, t("server.api"))),
      facts,
      server.status?.scopes.includes("admin") && keySection(),
    ),
    leave: () => clearInterval(timer),
  };
}

function table({ ready, version, owner, model, engine, database, limits, formats }: Status): HTMLElement {
  const rows: [string, string][] = [
    [t("server.version"), version],
    [t("server.model"), model.name],
    [t("server.directions"), model.directions.map(([source, target]) => direction(source, target)).join(", ")],
    [t("server.engine"), member("state", engine.state)],
    [t("server.queue"), t("server.queueValue", { running: number(engine.running), waiting: number(engine.waiting) })],
    [t("server.sentences"), number(engine.sentences)],
    [t("server.speed"), engine.sentences_per_second === null ? "–" : number(engine.sentences_per_second, 1)],
    [t("server.uptime"), duration(engine.uptime)],
    [t("server.restarts"), number(engine.restarts)],
    [t("server.database"), `${database.kind}, ${database.ready ? t("server.ready") : t("server.notReady")}`],
    [
      t("server.limits"),
      t("server.limitsValue", { characters: number(limits.characters), size: size(limits.file_bytes) }),
    ],
    [t("server.formats"), formats.join(", ")],
    [t("server.you"), owner],
  ];
  return h(
    "div",
    { class: "panel" },
    h("p", { class: ready ? "light good" : "light bad" }, t(ready ? "server.ready" : "server.notReady")),
    h("dl", { class: "facts" }, ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}
