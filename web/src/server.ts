// What the page knows of its server: languages, limits, abilities. Read once when the page opens.

import { call } from "./api/client";
import type { Language, LanguageInfo, Status } from "./api/types";

interface Server {
  languages: LanguageInfo[];
  status: Status | undefined;
}

export const server: Server = { languages: [], status: undefined };

export async function loadServer(): Promise<void> {
  const [{ languages }, status] = await Promise.all([
    call<{ languages: LanguageInfo[] }>("GET", "v1/languages"),
    call<Status>("GET", "v1/status"),
  ]);
  Object.assign(server, { languages, status });
}

export const targetsOf = (source: Language): Language[] =>
  source === "auto"
    ? [...new Set(server.languages.flatMap((language) => language.targets))]
    : (server.languages.find((language) => language.code === source)?.targets ?? []);

export const sources = (): Language[] =>
  server.languages.filter(({ targets }) => targets.length > 0).map(({ code }) => code);
export const canTranslate = (source: Language, target: Language): boolean => targetsOf(source).includes(target);
export const pairs = (): [Language, Language][] =>
  server.languages.flatMap(({ code, targets }) => targets.map((target): [Language, Language] => [code, target]));
