/**
 * The server's errors.
 *
 * @module
 */

/** An error response, or a response that can't be parsed. */
export class JobsError extends Error {
  /** The HTTP status; 0 if the response could not be parsed. @type {number} */
  status;
  /** The reason, if the message alone does not contain it. @type {string | undefined} */
  description;
  /** The invalid fields of a payload. @type {import("./index.d.ts").FieldProblem[]} */
  fields;
  /** The conflicting job, for a 409. @type {string | undefined} */
  id;
  /** Milliseconds after which to retry. @type {number | undefined} */
  retryAfter;

  /**
   * @param {string} message
   * @param {number} status
   * @param {Record<string, unknown>} [more]
   */
  constructor(message, status, more = {}) {
    super(message);
    this.name = "JobsError";
    this.status = status;
    this.description = typeof more.description === "string" ? more.description : undefined;
    this.fields = Array.isArray(more.fields) ? more.fields : [];
    this.id = typeof more.id === "string" ? more.id : undefined;
    this.retryAfter = typeof more.retryAfter === "number" ? more.retryAfter : undefined;
  }

  /** Whether the same request may succeed later. */
  get transient() {
    return this.status >= 500 || [408, 425, 429].includes(this.status);
  }
}

/**
 * Return the error for a response.
 *
 * @param {Response} response
 * @returns {Promise<JobsError>}
 */
export async function errorOf(response) {
  /** @type {Record<string, unknown>} */
  let body = {};
  try {
    const read = await response.json();
    if (typeof read === "object" && read !== null) body = read;
  } catch {
    // Most likely a proxy's page; the status suffices.
  }
  const said = typeof body.error === "string" ? body.error : `The server answered ${response.status}`;
  return new JobsError(said, response.status, { ...body, retryAfter: retryAfter(response) });
}

/**
 * @param {Response} response
 * @returns {number | undefined} milliseconds
 */
function retryAfter(response) {
  const seconds = response.headers.get("retry-after");
  return seconds !== null && /^[0-9]+$/.test(seconds.trim()) ? Number(seconds) * 1000 : undefined;
}
