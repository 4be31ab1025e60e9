// A translation as it is made: server-sent events over a POST, which EventSource cannot do.

import { ApiError, send } from "./client";
import type { Detection, Language, Request, Translation } from "./types";

export interface Listener {
  start(event: { source: Language; target: Language; detected: Detection | null }): void;
  /** What there is so far of a sentence; each replaces the one before. */
  partial(sentence: number, source: string, text: string): void;
  translation(content: Translation): void;
}

/** Translates one text; resolves to the seconds it took. Abort `signal` to cancel. */
export async function translateStream(request: Request, listener: Listener, signal: AbortSignal): Promise<number> {
  const body = { ...request, alternatives: 2, alignment: true };
  const response = await send("POST", "v1/translate/stream", body, signal);
  let seconds = 0;
  for await (const { event, data } of events(response)) {
    if (event === "start") listener.start(data);
    else if (event === "partial") listener.partial(data.sentence, data.source, data.text);
    else if (event === "translation") listener.translation(data);
    else if (event === "done") seconds = data.seconds;
    else if (event === "error") throw new ApiError(data.error, 500, data.code, data.details, 0);
  }
  return seconds;
}

async function* events(response: Response): AsyncGenerator<{ event: string; data: any }> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value.replaceAll("\r\n", "\n");
    for (let end = waiting.indexOf("\n\n"); end >= 0; end = waiting.indexOf("\n\n")) {
      const lines = waiting.slice(0, end).split("\n");
      waiting = waiting.slice(end + 2);
      const field = (name: string) =>
        lines
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).trimStart())
          .join("\n");
      const data = field("data");
      if (data) yield { event: field("event"), data: JSON.parse(data) };
    }
  }
}
