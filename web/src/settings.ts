// What a person chose, kept in this browser only.

export type Theme = "system" | "light" | "dark";

interface Settings {
  language: "en" | "zh";
  theme: Theme;
  /** The API key, where the server wants one. */
  key: string;
  source: string;
  target: string;
  /** Words the model was unsure of are marked. */
  shading: boolean;
  microphone: boolean;
  history: boolean;
}

const NAME = "regard.settings";

const DEFAULTS: Settings = {
  language: navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh")) ? "zh" : "en",
  theme: "system",
  key: "",
  source: "auto",
  target: "",
  shading: false,
  microphone: false,
  history: false,
};

/** Reads something kept in this browser; `fallback` where there is nothing, or no storage at all. */
export function recall<Value>(name: string, fallback: Value): Value {
  try {
    const text = localStorage.getItem(name);
    return text === null ? fallback : (JSON.parse(text) as Value);
  } catch {
    return fallback;
  }
}

/** Keeps something in this browser; `undefined` removes it. A browser without storage forgets it with the page. */
export function keep(name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Private windows of some browsers have no storage: everything works but is not kept.
  }
}

export const settings: Settings = { ...DEFAULTS, ...recall<Partial<Settings>>(NAME, {}) };

/** Changes settings and keeps them. */
export function change(changes: Partial<Settings>): void {
  Object.assign(settings, changes);
  keep(NAME, settings);
}
