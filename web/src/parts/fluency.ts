// How the model finds a translation that a person wrote: odd words marked. Only where the person wants such marks.

import { call } from "../api/client";
import type { Fluency, Project, Segment } from "../api/types";
import { type Child, fill, h } from "../dom";
import { percent, t } from "../i18n";
import { settings } from "../settings";
import { Points } from "../text";
import { shade } from "./reading";

/** A line under a segment; what was asked for last is what is shown. */
export class FluencyLine {
  readonly element = h("div", { class: "fluency small", "aria-live": "polite" });
  private running: AbortController | undefined;

  clear(): void {
    this.running?.abort();
    fill(this.element);
  }

  async show(segment: Segment, { source, target }: Project): Promise<void> {
    this.running?.abort();
    const { source_text, text } = segment;
    if (!settings.shading || !text.trim()) return this.clear();
    const running = new AbortController();
    this.running = running;
    const body = { source, target, source_text, text };
    // A help, not a must: where it fails, there is no line.
    const found = await call<Fluency>("POST", "v1/fluency", body, running.signal).catch(() => undefined);
    if (running.signal.aborted) return;
    if (!found || found.confidence === null) return this.clear();
    fill(
      this.element,
      h("span", { class: "quiet" }, t("grid.fluency", { confidence: percent(found.confidence) })),
      " ",
      h("span", { lang: target }, ...shaded(text, found.words)),
    );
  }
}

/** A text with its words shaded, the odder the more. */
function shaded(text: string, words: Fluency["words"]): Child[] {
  const points = new Points(text);
  const parts: Child[] = [];
  let place = 0;
  for (const { start, end, confidence } of words) {
    if (end <= start || start < place) continue;
    const title = t("word.confidence", { confidence: percent(confidence) });
    parts.push(points.slice(place, start));
    parts.push(h("span", { class: `word${shade(confidence)}`, title }, points.slice(start, end)));
    place = end;
  }
  return [...parts, points.slice(place)];
}
