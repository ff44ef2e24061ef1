/**
 * The part of the REST API for applications that send jobs.
 *
 * @module
 */

import { ask, runPath } from "./http.js";
import { watchJob } from "./watch.js";

/**
 * Return a client of one server.
 *
 * @param {import("./index.d.ts").Connection} [connection]
 * @returns {import("./index.d.ts").JobsClient}
 */
export function createClient(connection = {}) {
  /** @param {{ signal?: AbortSignal } | undefined} request */
  const with_ = (request) => ({ ...connection, signal: request?.signal });
  return {
    trigger: (taskId, payload = {}, request = {}) =>
      ask(with_(request), "POST", "/trigger", {
        body: { taskId, payload },
        headers: request.idempotencyKey === undefined ? {} : { "idempotency-key": request.idempotencyKey },
      }),
    list: (filter = {}, request) => ask(with_(request), "GET", `/trigger/runs${queryOf(filter)}`),
    run: (runId, request) => ask(with_(request), "GET", runPath(runId)),
    cancel: (runId, request) => ask(with_(request), "POST", `${runPath(runId)}/cancel`),
    retry: (runId, request) => ask(with_(request), "POST", `${runPath(runId)}/retry`),
    resume: (runId, request) => ask(with_(request), "POST", `${runPath(runId)}/resume`),
    watch: (runId, options) => watchJob(runId, { ...connection, ...options }),
  };
}

/**
 * Return a filter as the query of a URL: lists become repeated parameters, missing values are omitted.
 *
 * @param {import("./index.d.ts").RunFilter} filter
 */
function queryOf(filter) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filter)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) query.append(name, one instanceof Date ? one.toISOString() : String(one));
    }
  }
  const text = query.toString();
  return text && `?${text}`;
}
