/**
 * The REST API, as far as an application that sends jobs needs it.
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
    run: (runId, request) => ask(with_(request), "GET", runPath(runId)),
    cancel: (runId, request) => ask(with_(request), "POST", `${runPath(runId)}/cancel`),
    retry: (runId, request) => ask(with_(request), "POST", `${runPath(runId)}/retry`),
    watch: (runId, options) => watchJob(runId, { ...connection, ...options }),
  };
}
