// API keys: who may use the server, and for what. For those who may give them out.

import { call } from "../api/client";
import type { ApiKey, Page } from "../api/types";
import { type Child, h } from "../dom";
import { member, number, t, when } from "../i18n";
import { icon } from "../icons";
import { confirmDeletion, openDialog, openForm } from "../parts/dialog";
import { field } from "../parts/fields";
import { listing } from "../parts/listing";
import { attempt } from "../parts/notice";

const SCOPES = ["translate", "write", "learn", "admin"] as const;

/** The list of keys, with what makes one and what revokes one. */
export function keySection(): HTMLElement {
  const list = listing<ApiKey>(
    (range) => call<Page<ApiKey>>("GET", `v1/keys?offset=${range.offset}&limit=${range.limit}`),
    (key) => row(key, () => list.reload()),
    () => t("keys.empty"),
  );
  list.reload();
  return h(
    "section",
    { class: "stack", "aria-label": t("keys.title") },
    h(
      "div",
      { class: "row between" },
      h("h2", {}, t("keys.title")),
      h("button", { onclick: () => openNew(() => list.reload()) }, icon("plus"), t("keys.new")),
    ),
    h("p", { class: "lead" }, t("keys.lead")),
    list.element,
  );
}

function row(key: ApiKey, reload: () => void): HTMLElement {
  const limits: Child[] = [
    key.characters_per_day !== null && ` · ${t("keys.perDay", { count: number(key.characters_per_day) })}`,
    key.requests_per_minute !== null && ` · ${t("keys.perMinute", { count: number(key.requests_per_minute) })}`,
  ];
  const used = key.last_used ? t("keys.used", { time: when(key.last_used) }) : t("keys.unused");
  const revoke = () =>
    confirmDeletion(
      t("keys.revokeSure", { name: key.name }),
      () => attempt(() => call("DELETE", `v1/keys/${key.id}`)).then(reload),
      t("keys.revoke"),
    );
  return h(
    "li",
    { class: "entry row between" },
    h(
      "div",
      { class: "grow" },
      h("span", { class: "title" }, key.name),
      h("p", { class: "quiet small" }, key.scopes.map((scope) => member("scope", scope)).join(", "), ...limits),
      h("p", { class: "quiet small" }, t("keys.owner"), ": ", h("span", { class: "title" }, key.owner), ` · ${used}`),
    ),
    key.revoked
      ? h("span", { class: "badge" }, t("keys.revoked"))
      : h("button", { class: "small", "aria-label": `${t("keys.revoke")}: ${key.name}`, onclick: revoke }, t("keys.revoke")),
  );
}

function openNew(made: () => void): void {
  const text = (name: string, attributes: object) => h("input", { name, autocomplete: "off", ...attributes });
  const count = (name: string) => text(name, { type: "number", min: 1 });
  const scope = (name: (typeof SCOPES)[number]) =>
    h(
      "label",
      { class: "tick" },
      h("input", { type: "checkbox", name: "scopes", value: name, checked: name === "translate" }),
      member("scope", name),
    );
  const fields = [
    field(t("keys.name"), text("name", { required: true, maxlength: 200 })),
    field(t("keys.owner"), text("owner", { required: true, maxlength: 64, pattern: "[\\w.@\\-]+" }), t("keys.ownerHint")),
    h("fieldset", {}, h("legend", {}, t("keys.scopes")), ...SCOPES.map(scope)),
    field(t("keys.characters"), count("characters_per_day"), t("keys.noLimit")),
    field(t("keys.requests"), count("requests_per_minute"), t("keys.noLimit")),
  ];
  openForm(t("keys.new"), fields, t("action.create"), async (form) => {
    const limit = (name: string) => (form.get(name) ? Number(form.get(name)) : null);
    const body = {
      name: form.get("name"),
      owner: form.get("owner"),
      scopes: form.getAll("scopes"),
      characters_per_day: limit("characters_per_day"),
      requests_per_minute: limit("requests_per_minute"),
    };
    const key = await attempt(() => call<ApiKey>("POST", "v1/keys", body));
    if (!key) return false;
    showSecret(key);
    made();
    return true;
  });
}

/** The only time that a key is shown. */
function showSecret(key: ApiKey): void {
  const secret = h("input", { readonly: true, value: key.secret ?? "", onfocus: () => secret.select() });
  openDialog(t("keys.made", { name: key.name }), () => field(t("settings.key"), secret, t("keys.once")));
  secret.focus();
}
