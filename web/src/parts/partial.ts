// A translation while it is being made: sentences in any order, each as far as it has come.

/** Puts what there is of the sentences together, with the line breaks of the source between them. */
export class PartialTranslation {
  private readonly sentences: { source: string; text: string }[] = [];

  constructor(
    private readonly source: string,
    private readonly target: string,
  ) {}

  /** Enters what there is now of a sentence; returns what there is of the whole. */
  add(index: number, source: string, text: string): string {
    this.sentences[index] = { source, text };
    let whole = "";
    let place = 0;
    for (const sentence of this.sentences) {
      if (!sentence) continue; // one that comes later may be there before it
      const start = Math.max(this.source.indexOf(sentence.source, place), place);
      const between = this.source.slice(place, start);
      if (whole) whole += between.includes("\n") ? between : this.target === "zh" ? "" : " ";
      whole += sentence.text;
      place = start + sentence.source.length;
    }
    return whole;
  }
}
