// The page's words, in English and Chinese. A message may have places, `{like}` this.

import { settings } from "../settings";
import { en } from "./en";
import { zh } from "./zh";

export type Key = keyof typeof en;

const MESSAGES: Record<"en" | "zh", Record<Key, string>> = { en, zh };

export type Values = { [name: string]: string | number };

/** A message in the person's language. */
export function t(key: Key, values: Values = {}): string {
  return MESSAGES[settings.language][key].replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}

/** The message of a family (`check.number`), or `fallback` for a member that the page does not know. */
export function member(family: string, name: string, fallback = name, values: Values = {}): string {
  const key = `${family}.${name}`;
  return key in en ? t(key as Key, values) : fallback;
}

/** The tag of the page's language for `lang` attributes and `Intl`. */
export function tag(): string {
  return settings.language === "zh" ? "zh-Hans" : "en";
}

/** The name of a language in the person's language. */
export function languageName(code: string): string {
  return new Intl.DisplayNames([tag()], { type: "language" }).of(code) ?? code;
}

export const direction = (source: string, target: string) => `${languageName(source)} → ${languageName(target)}`;
export const number = (value: number, digits = 0) =>
  new Intl.NumberFormat(tag(), { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
export const percent = (share: number) => new Intl.NumberFormat(tag(), { style: "percent" }).format(share);
export const when = (time: string) =>
  new Intl.DateTimeFormat(tag(), { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));

/** A length of time, to the second: 4 s, 2 min 5 s, 3 h 10 min. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return t("time.hours", { hours, minutes });
  return minutes ? t("time.minutes", { minutes, seconds: rest }) : t("time.seconds", { seconds: rest });
}

/** A size in memory: 12.3 MB. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${number(bytes / 1e3, 1)} kB` : `${number(bytes / 1e6, 1)} MB`;
}
