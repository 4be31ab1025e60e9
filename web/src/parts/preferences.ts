// The settings window.

import { h } from "../dom";
import { t } from "../i18n";
import { change, settings } from "../settings";
import { openDialog } from "./dialog";
import { field, tick } from "./fields";
import { forgetHistory } from "./history";
import { canDictate } from "./speech";

/** Opens the settings; `changed` is called once they are closed. */
export function openSettings(changed: () => void): void {
  const key = h("input", {
    type: "password",
    autocomplete: "off",
    value: settings.key,
    onchange: () => change({ key: key.value.trim() }),
  });
  const history = (on: boolean) => {
    change({ history: on });
    if (!on) forgetHistory();
  };
  openDialog(
    t("settings.title"),
    (close) =>
      h(
        "form",
        { class: "stack", onsubmit: (event) => (event.preventDefault(), close()) },
        tick(t("settings.shading"), settings.shading, (shading) => change({ shading })),
        tick(t("settings.history"), settings.history, history, t("settings.historyHint")),
        canDictate() &&
          tick(
            t("settings.microphone"),
            settings.microphone,
            (microphone) => change({ microphone }),
            t("settings.microphoneHint"),
          ),
        field(t("settings.key"), key, t("settings.keyHint")),
      ),
    changed,
  );
}
