// Places in text. The server counts Unicode code points; JavaScript strings count UTF-16 units, two for an emoji.

/** A text that can be cut at code points. */
export class Points {
  private readonly characters: string[];

  constructor(text: string) {
    this.characters = Array.from(text);
  }

  get length(): number {
    return this.characters.length;
  }

  slice(start: number, end?: number): string {
    return this.characters.slice(start, end).join("");
  }

  /** The code point at a place counted in UTF-16 units. */
  at(units: number): number {
    let seen = 0;
    for (let i = 0; i < this.characters.length; i++) {
      if (seen >= units) return i;
      seen += this.characters[i]!.length;
    }
    return this.characters.length;
  }
}

/** Words of a text that the server said nothing about (one that the person chose or wrote). */
export function wordsOf(text: string, language: string): { text: string; start: number; end: number }[] {
  const points = new Points(text);
  return [...new Intl.Segmenter(language, { granularity: "word" }).segment(text)]
    .filter(({ segment }) => segment.trim() !== "")
    .map(({ segment, index }) => {
      const start = points.at(index);
      return { text: segment, start, end: start + Array.from(segment).length };
    });
}
