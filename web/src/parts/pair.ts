// The choice of a pair of languages.

import { direction, t } from "../i18n";
import { pairs } from "../server";
import { settings } from "../settings";
import { choose, type Choice } from "./fields";

export interface Pair {
  source: string;
  target: string;
}

/** The pair that a list is narrowed to, or null for all. */
export function pairFilter(changed: (pair: Pair | null) => void): HTMLSelectElement {
  const choices = [{ value: "", label: t("language.all") }, ...pairChoices()];
  return choose({ "aria-label": t("language.pair") }, choices, "", (value) => changed(value ? pairOf(value) : null));
}

/** The pair that something new is for, as the form field `pair`; the person's last languages come first. */
export function pairField(): HTMLSelectElement {
  const choices = pairChoices();
  const last = `${settings.source}-${settings.target}`;
  return choose(
    { name: "pair" },
    choices,
    choices.some(({ value }) => value === last) ? last : (choices[0]?.value ?? ""),
  );
}

const pairChoices = (): Choice[] =>
  pairs().map(([source, target]) => ({ value: `${source}-${target}`, label: direction(source, target) }));

export function pairOf(value: string): Pair {
  const [source = "", target = ""] = value.split("-");
  return { source, target };
}
