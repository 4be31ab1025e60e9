// A list that the server gives piece by piece.

import type { Page } from "../api/types";
import { fill, h } from "../dom";
import { number, t } from "../i18n";
import { loading } from "./fields";
import { explain } from "./notice";

const STEP = 50;

export interface Listing {
  element: HTMLElement;
  /** Reads the list anew from its beginning. */
  reload(): Promise<void>;
}

export function listing<Item>(
  load: (range: { offset: number; limit: number }) => Promise<Page<Item>>,
  row: (item: Item) => HTMLElement,
  empty: () => string,
): Listing {
  const list = h("ul", { class: "plain entries" });
  const foot = h("div", { class: "row between" });
  const element = h("div", { class: "stack" }, loading());
  let latest = 0;

  const read = async (offset: number): Promise<void> => {
    const asked = ++latest;
    try {
      const { items, total } = await load({ offset, limit: STEP });
      if (asked !== latest) return; // a later question was asked meanwhile
      if (offset === 0) list.replaceChildren();
      list.append(...items.map(row));
      const count = offset + items.length;
      const more = h("button", { onclick: () => read(count) }, t("action.more"));
      fill(
        foot,
        h(
          "p",
          { class: "quiet small", role: "status" },
          t("list.shown", { shown: number(count), total: number(total) }),
        ),
        count < total && more,
      );
      fill(element, ...(total === 0 ? [h("p", { class: "quiet empty" }, empty())] : [list, foot]));
    } catch (error) {
      fill(
        element,
        h("p", { class: "problem", role: "alert" }, explain(error)),
        h("button", { onclick: () => read(offset) }, t("action.retry")),
      );
    }
  };
  return { element, reload: () => read(0) };
}
