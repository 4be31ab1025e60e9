// Calls to the server. Addresses are relative, so that the page also works behind a prefix.

import { settings } from "../settings";

/** An error that the server explained, or `code` "network" where it could not be reached. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly details: unknown,
    readonly retryAfter: number,
  ) {
    super(message);
  }
}

type Body = FormData | object | undefined;
type Query = { [name: string]: string | number | boolean | null | undefined };

/** The address of a call, with what of `query` is there. */
export function address(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") parameters.set(name, String(value));
  }
  const search = parameters.toString();
  return search ? `${path}?${search}` : path;
}

/** Sends a request and returns the response, once it is known to be a good one. */
export async function send(method: string, path: string, body?: Body, signal?: AbortSignal): Promise<Response> {
  const headers = new Headers();
  if (settings.key) headers.set("Authorization", `Bearer ${settings.key}`);
  if (body && !(body instanceof FormData)) headers.set("Content-Type", "application/json");
  const init: RequestInit = { method, headers, signal: signal ?? null };
  if (body) init.body = body instanceof FormData ? body : JSON.stringify(body);
  // What is saved as the page is closed shall arrive all the same; browsers allow that for 64 KiB.
  init.keepalive = method === "PATCH" && String(init.body).length < 20_000;
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("", 0, "network", null, 0);
  }
  if (!response.ok) throw await explained(response);
  return response;
}

async function explained(response: Response): Promise<ApiError> {
  const answer = await response.json().catch(() => ({}));
  const retry = Number(response.headers.get("Retry-After")) || 0;
  return new ApiError(answer.error ?? response.statusText, response.status, answer.code ?? "", answer.details, retry);
}

/** Sends a request and reads the JSON that it answers; `undefined` for an empty answer. */
export async function call<Answer>(method: string, path: string, body?: Body, signal?: AbortSignal): Promise<Answer> {
  const response = await send(method, path, body, signal);
  return (response.status === 204 ? undefined : await response.json()) as Answer;
}

/** Uploads a form and tells how much has gone out, which `fetch` cannot. */
export function upload<Answer>(path: string, form: FormData, progress: (share: number) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "json";
    if (settings.key) request.setRequestHeader("Authorization", `Bearer ${settings.key}`);
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
    request.onerror = () => reject(new ApiError("", 0, "network", null, 0));
    request.onload = () => {
      if (request.status < 300) return resolve(request.response as Answer);
      const answer = request.response ?? {};
      return reject(
        new ApiError(answer.error ?? request.statusText, request.status, answer.code ?? "", answer.details, 0),
      );
    };
    request.send(form);
  });
}

/** Fetches a file (with the key, which a plain link would not send) and hands it to the browser to save. */
export async function download(path: string, fallback: string): Promise<void> {
  const response = await send("GET", path);
  const header = response.headers.get("Content-Disposition") ?? "";
  const name = /filename\*=UTF-8''([^;]+)/i.exec(header)?.[1] ?? /filename="?([^";]+)/i.exec(header)?.[1];
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name ? decodeURIComponent(name) : fallback;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
