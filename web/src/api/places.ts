// Finding one's way in a translation: which sentence, which word, and putting another sentence in place.

import { Points } from "../text";
import type { Sentence, Translation } from "./types";

/** The sentence that a place of the source (in code points) lies in. */
export function sentenceAt(translation: Translation, place: number): Sentence | undefined {
  return translation.sentences.find(
    ({ source_start: start, source_end: end }) => start !== null && end !== null && start <= place && place <= end,
  );
}

/** The words of a sentence's translation that look at the source word at a place. */
export function wordsLookingAt(sentence: Sentence, place: number): Set<number> {
  const offset = sentence.source_start ?? 0;
  const { source_words: words = [], links = [] } = sentence.alignment ?? {};
  const at = words.findIndex(({ start, end }) => offset + start <= place && place < offset + end);
  return new Set(links.filter(([source]) => source === at).map(([, word]) => word));
}

/** A translation with another text for one of its sentences; undefined where that sentence has no place in it. */
export function withSentence(translation: Translation, index: number, text: string): Translation | undefined {
  const old = translation.sentences[index];
  if (!old || old.start === null || old.end === null) return undefined;
  const end = old.start + new Points(text).length;
  const moved = end - old.end;
  const unknown = { words: [], alignment: null, confidence: null, checks: [] };
  const sentences = translation.sentences.map((sentence, i): Sentence => {
    if (i === index) return { ...sentence, ...unknown, text, end, origin: "machine", machine: old.machine ?? old.text };
    if (i < index || sentence.start === null || sentence.end === null) return sentence;
    return { ...sentence, start: sentence.start + moved, end: sentence.end + moved };
  });
  const points = new Points(translation.text);
  return { ...translation, text: points.slice(0, old.start) + text + points.slice(old.end), sentences, checks: [] };
}
