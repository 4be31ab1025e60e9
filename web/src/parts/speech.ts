// Listening and dictating, both by the browser. Reading aloud uses voices on the machine where there are any; dictation
// may send the sound to the browser's maker, so it is off until the person switches it on.

import { languageName, t } from "../i18n";
import { notify } from "./notice";

interface Recognition extends EventTarget {
  lang: string;
  interimResults: boolean;
  continuous: boolean;
  start(): void;
  stop(): void;
  onresult: ((event: { results: ArrayLike<ArrayLike<{ transcript: string }>> }) => void) | null;
  onend: (() => void) | null;
}

const TAGS: Record<string, string> = { en: "en-US", de: "de-DE", fr: "fr-FR", zh: "zh-CN" };
const regional = (language: string) => TAGS[language] ?? language;

const recogniser = (): (new () => Recognition) | undefined => {
  const names = window as unknown as Record<string, (new () => Recognition) | undefined>;
  return names.SpeechRecognition ?? names.webkitSpeechRecognition;
};

export const canListen = (): boolean => "speechSynthesis" in window;
export const canDictate = (): boolean => recogniser() !== undefined;

/** Reads a text aloud, or stops where something is being read. */
export function listen(text: string, language: string): void {
  if (speechSynthesis.speaking) {
    speechSynthesis.cancel();
    return;
  }
  const voices = speechSynthesis.getVoices().filter((voice) => voice.lang.toLowerCase().startsWith(language));
  const voice = voices.find((each) => each.localService) ?? voices[0];
  if (!voice) {
    notify(t("translate.noVoice", { language: languageName(language) }));
    return;
  }
  const utterance = new SpeechSynthesisUtterance(text);
  utterance.voice = voice;
  utterance.lang = voice.lang;
  speechSynthesis.speak(utterance);
}

export const stopListening = (): void => {
  if (canListen()) speechSynthesis.cancel();
};

/** Writes down what is said: `heard` gets all of it so far each time. Returns what ends it. */
export function dictate(language: string, heard: (text: string) => void, ended: () => void): () => void {
  const Recogniser = recogniser();
  if (!Recogniser) return () => {};
  const recognition = new Recogniser();
  recognition.lang = regional(language);
  recognition.interimResults = recognition.continuous = true;
  recognition.onresult = ({ results }) => heard(Array.from(results, (result) => result[0]?.transcript ?? "").join(""));
  recognition.onend = ended;
  recognition.start();
  return () => recognition.stop();
}
