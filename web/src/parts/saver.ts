// Saving a segment as it is edited: one request at a time, always with the version that was last read.

import { ApiError, call } from "../api/client";
import type { Segment, SegmentStatus } from "../api/types";

/** Longer than this between two keys and the person was doing something else, in milliseconds. */
const PAUSE = 20_000;

export interface SaverEvents {
  saving(): void;
  saved(segment: Segment): void;
  /** Somebody else was faster; nothing was changed. */
  conflict(theirs: Segment): void;
  failed(error: unknown): void;
}

export class Saver {
  private text: string;
  private spent = 0;
  private touched = 0;
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private segment: Segment,
    private readonly events: SaverEvents,
  ) {
    this.text = segment.text;
  }

  get version(): number {
    return this.segment.version;
  }

  /** Counts the time between keys as time of editing. */
  touch(): void {
    const now = performance.now();
    if (this.touched && now - this.touched < PAUSE) this.spent += now - this.touched;
    this.touched = now;
  }

  /** Goes on from another version: theirs, or one that was undone. */
  adopt(segment: Segment): void {
    this.segment = segment;
    this.text = segment.text;
  }

  /** Saves the text if it changed, or `status` in any case. Resolves to whether it is safe on the server. */
  save(text: string, status?: SegmentStatus): Promise<boolean> {
    const done = this.queue.then(() => this.send(text, status));
    this.queue = done.then(() => {});
    return done;
  }

  /** Asks for the version before this one, or the one after. */
  step(way: "undo" | "redo"): Promise<boolean> {
    const done = this.queue.then(() =>
      this.ask(() => call<Segment>("POST", `v1/segments/${this.segment.id}/${way}`, { version: this.version })),
    );
    this.queue = done.then(() => {});
    return done;
  }

  private async send(text: string, status?: SegmentStatus): Promise<boolean> {
    if (text === this.text && !status) return true;
    const seconds = Math.round(this.spent / 100) / 10;
    this.spent = 0;
    const changes = {
      version: this.version,
      ...(text !== this.text && { text }),
      ...(status && { status }),
      ...(seconds && { seconds }),
    };
    return this.ask(() => call<Segment>("PATCH", `v1/segments/${this.segment.id}`, changes));
  }

  private async ask(request: () => Promise<Segment>): Promise<boolean> {
    this.events.saving();
    try {
      const segment = await request();
      this.adopt(segment);
      this.events.saved(segment);
      return true;
    } catch (error) {
      const theirs =
        error instanceof ApiError && error.code === "conflict"
          ? (error.details as { theirs?: Segment } | null)?.theirs
          : undefined;
      if (theirs) this.events.conflict(theirs);
      else this.events.failed(error);
      return false;
    }
  }
}
