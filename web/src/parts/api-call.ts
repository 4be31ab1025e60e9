// "Show the API call": what the page asked of the server, ready to be used elsewhere.

import type { Request } from "../api/types";
import { h } from "../dom";
import { t } from "../i18n";
import { icon } from "../icons";
import { settings } from "../settings";
import { openDialog } from "./dialog";
import { notify, showProblem } from "./notice";

export function openApiCall(request: Request): void {
  const dialog = openDialog(t("api.title"), () =>
    h(
      "div",
      { class: "stack" },
      h("p", { class: "quiet" }, t("api.lead")),
      example("curl", curl(request)),
      example("Python", python(request)),
      h("p", {}, h("a", { href: "docs", target: "_blank", rel: "noopener" }, t("api.reference"))),
    ),
  );
  dialog.classList.add("wide");
}

function example(name: string, code: string): HTMLElement {
  const copy = () => navigator.clipboard.writeText(code).then(() => notify(t("translate.copied")), showProblem);
  return h(
    "section",
    { "aria-label": name },
    h(
      "div",
      { class: "row between" },
      h("h3", {}, name),
      h("button", { class: "small", onclick: copy }, icon("copy"), t("api.copy")),
    ),
    h("pre", { tabindex: 0 }, h("code", {}, code)),
  );
}

const url = () => new URL("v1/translate", location.href.split("#")[0]).href;

function curl(request: Request): string {
  const body = JSON.stringify(request).replaceAll("'", String.raw`'\''`);
  const key = settings.key ? ` \\\n  -H 'Authorization: Bearer '"$REGARD_KEY"` : "";
  return `curl ${url()} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${body}'`;
}

function python(request: Request): string {
  const key = settings.key ? `, "Authorization": "Bearer " + os.environ["REGARD_KEY"]` : "";
  return `import json${settings.key ? ", os" : ""}
from urllib.request import Request, urlopen

body = json.dumps(${JSON.stringify(request)})
call = Request(${JSON.stringify(url())}, body.encode(), {"Content-Type": "application/json"${key}})
with urlopen(call) as answer:
    print(json.load(answer)["translations"][0]["text"])`;
}
