// What the server answers, as docs/serving.md describes it.

export type Language = "en" | "de" | "fr" | "zh" | (string & {});

export interface Page<Item> {
  items: Item[];
  total: number;
}

export interface Check {
  kind: string;
  severity: "error" | "warning";
  message: string;
  value: string | null;
}

/** A word and its place, in Unicode code points. */
export interface Word {
  text: string;
  start: number;
  end: number;
}

export interface Sentence {
  source: string;
  text: string;
  source_start: number | null;
  source_end: number | null;
  start: number | null;
  end: number | null;
  origin: "machine" | "memory" | "copied";
  match: number | null;
  memory: string | null;
  model: string;
  adapter: string | null;
  confidence: number | null;
  finished: boolean;
  words: (Word & { confidence: number })[];
  alternatives: { text: string; confidence: number }[];
  alignment: { source_words: Word[]; links: [number, number][]; weights: number[][] } | null;
  /** What it was in the language between, where the direction takes two steps. */
  pivot: { language: Language; text: string } | null;
  terms: { source: string; target: string; glossary: string; kept: boolean }[];
  checks: Check[];
  /** What the machine made of it, where the person chose another translation since; the page's own. */
  machine?: string;
}

export interface Translation {
  text: string;
  confidence: number | null;
  checks: Check[];
  sentences: Sentence[];
}

export interface Detection {
  language: Language;
  confidence: number;
}

export interface Request {
  text: string;
  source: Language;
  target: Language;
}

export interface LanguageInfo {
  code: Language;
  name: string;
  native_name: string;
  targets: Language[];
}

export interface Status {
  version: string;
  ready: boolean;
  owner: string;
  scopes: string[];
  keys_required: boolean;
  model: { name: string; directions: [Language, Language][] };
  engine: {
    state: string;
    waiting: number;
    running: number;
    characters_waiting: number;
    restarts: number;
    sentences: number;
    sentences_per_second: number | null;
    uptime: number;
  };
  database: { kind: string; ready: boolean };
  limits: { characters: number; texts: number; alternatives: number; file_bytes: number };
  formats: string[];
  learning: { available: boolean; reason: string | null };
}

export interface Entry {
  id: string;
  source: Language;
  target: Language;
  source_text: string;
  target_text: string;
  origin: "correction" | "import" | "person" | "project";
  created: string;
  updated: string;
  uses: number;
}

export type Difference = ["equal" | "delete" | "insert", string][];

export interface Match extends Entry {
  match: number;
  difference: Difference;
}

export interface Imported {
  added: number;
  replaced: number;
  skipped: number;
}

export interface Term {
  id: string;
  source: string;
  target: string;
  variants: string[];
  case_sensitive: boolean;
  note: string;
}

export interface Glossary {
  id: string;
  name: string;
  source: Language;
  target: Language;
  active: boolean;
  size: number;
  created: string;
  terms?: Term[];
}

export interface DictionaryEntry {
  headword: string;
  reading: string | null;
  kind: string | null;
  senses: string[];
  /** Of the dictionary that comes with the model: how probable each sense is. */
  shares?: number[];
  /** Its dictionary's name; null for the one that comes with the model. */
  dictionary: string | null;
}

export interface LookUp {
  word: string;
  entries: DictionaryEntry[];
  examples: {
    source: string;
    target: string;
    source_spans: [number, number][];
    target_spans: [number, number][];
    entry: string;
  }[];
}

export interface Dictionary {
  id: string;
  name: string;
  source: Language;
  target: Language;
  size: number;
}

export interface ApiKey {
  id: string;
  name: string;
  owner: string;
  scopes: string[];
  characters_per_day: number | null;
  requests_per_minute: number | null;
  created: string;
  last_used: string | null;
  revoked: string | null;
  /** Only in the answer that made it. */
  secret?: string;
}

export interface Fluency {
  confidence: number | null;
  words: (Word & { confidence: number })[];
}

export interface Project {
  id: string;
  name: string;
  source: Language;
  target: Language;
  created: string;
  format: string;
  state: "ready" | "translating" | "failed";
  segments: { total: number; empty: number; machine: number; memory: number; draft: number; confirmed: number };
  edit_seconds: number;
  error: string | null;
}

export type SegmentStatus = "empty" | "machine" | "draft" | "confirmed";

export interface Segment {
  id: string;
  project: string;
  position: number;
  source_text: string;
  text: string;
  machine_text: string | null;
  status: SegmentStatus;
  origin: "machine" | "memory" | "human" | null;
  match: number | null;
  confidence: number | null;
  checks: Check[];
  version: number;
  edit_seconds: number;
  edit_distance: number | null;
  can_undo: boolean;
  can_redo: boolean;
  comments: number;
  updated: string;
  correction?: { id: string; accepted: boolean; reasons: string[] };
}

export interface Comment {
  id: string;
  text: string;
  author: string;
  created: string;
}

export interface DocumentJob {
  id: string;
  name: string;
  format: string;
  source: Language;
  target: Language;
  state: "queued" | "running" | "done" | "cancelled" | "failed";
  segments: { total: number; translated: number };
  unchanged: { position: number; text: string }[];
  bytes: number;
  created: string;
  expires: string | null;
  error: string | null;
}

export interface Correction {
  id: string;
  source: Language;
  target: Language;
  source_text: string;
  machine_text: string | null;
  text: string;
  accepted: boolean;
  reasons: string[];
  memory: string | null;
  created: string;
}

export interface Report {
  held_out_before: number;
  held_out_after: number;
  general_before: number;
  general_after: number;
  metric: string;
  examples: { source: string; before: string; after: string; reference: string }[];
}

export interface Run {
  id: string;
  source: Language;
  target: Language;
  state: "queued" | "running" | "admitted" | "rejected" | "failed";
  progress: number;
  corrections: number;
  adapter: string | null;
  report: Report | null;
  error: string | null;
  created: string;
}

export interface Adapter {
  id: string;
  source: Language;
  target: Language;
  active: boolean;
  created: string;
  corrections: number;
  report: Report | null;
}
