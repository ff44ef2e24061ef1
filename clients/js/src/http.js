/**
 * Requests: URLs, and authentication.
 *
 * @module
 */

import { errorOf } from "./errors.js";

/** @typedef {import("./index.d.ts").Connection} Connection */

/**
 * Return the URL of a path on the server.
 *
 * @param {Connection} options
 * @param {string} path begins with a slash
 */
export function urlOf({ baseUrl = "" }, path) {
  return `${String(baseUrl).replace(/\/+$/, "")}${path}`;
}

/**
 * Return the headers of a request, with the current token.
 *
 * @param {Connection} options
 * @param {Record<string, string>} own
 */
export async function headersOf({ token, headers }, own) {
  const all = new Headers(headers);
  for (const [name, value] of Object.entries(own)) all.set(name, value);
  const text = typeof token === "function" ? await token() : token;
  if (text) all.set("authorization", `Bearer ${text}`);
  return all;
}

/**
 * Send a request, and return the JSON of the response.
 *
 * @param {Connection & { signal?: AbortSignal }} options
 * @param {"GET" | "POST"} method
 * @param {string} path
 * @param {{ body?: unknown, headers?: Record<string, string> }} [request]
 * @returns {Promise<any>}
 */
export async function ask(options, method, path, { body, headers = {} } = {}) {
  const own = { accept: "application/json", ...headers };
  const { fetch: send = globalThis.fetch, credentials, signal } = options;
  const response = await send(urlOf(options, path), {
    method,
    headers: await headersOf(options, body === undefined ? own : { ...own, "content-type": "application/json" }),
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials,
    signal,
  });
  if (!response.ok) throw await errorOf(response);
  return response.json();
}

/**
 * Return the path of a job.
 *
 * @param {string} runId
 */
export function runPath(runId) {
  return `/trigger/runs/${encodeURIComponent(runId)}`;
}
