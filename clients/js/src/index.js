/**
 * Send background jobs to Zeke and follow them live.
 *
 * @module
 */

export { createClient } from "./client.js";
export { JobsError } from "./errors.js";
export { EventParser } from "./sse.js";
export { createJobStatus } from "./status.js";
export { watchJob } from "./watch.js";
