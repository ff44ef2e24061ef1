/** The types of the client. */
export type RunStatus = "QUEUED" | "EXECUTING" | "COMPLETED" | "FAILED" | "CANCELLED";

/** The server, and the authentication. */
export interface Connection {
  /** The base URL of the API, such as `https://api.example.org`; by default the page's origin. */
  baseUrl?: string | URL;
  /** An API key, or a function that returns one, called before each request. */
  token?: string | undefined | (() => string | undefined | Promise<string | undefined>);
  /** Additional headers for each request. */
  headers?: HeadersInit;
  /** Whether to send cookies, for applications that authenticate by them. */
  credentials?: RequestCredentials;
  /** Replacement for the global `fetch`. */
  fetch?: typeof globalThis.fetch;
}

/** A job that was sent. */
export interface Triggered {
  id: string;
  status: "created";
  taskId: string;
}

/** A job. Instants are ISO texts in UTC. */
export interface Run<Output = unknown> {
  id: string;
  status: RunStatus;
  taskId: string;
  data: unknown;
  /** The task's result, or the error `{type, message, traceback}` of a failed job. */
  output: Output | null;
  startedOn: string | null;
  completedOn: string | null;
  createdOn: string;
  retryCount: number;
}

/** The status of a job. `output` and `completedOn` are set when it has ended. */
export interface JobStatus<Output = unknown> {
  id: string;
  status: RunStatus;
  taskId: string;
  output?: Output | null;
  completedOn?: string | null;
}

/** The progress of an attempt of a job. */
export interface Progress {
  attempt: number;
  at: string;
  /** From 0 to 1. */
  value: number;
  message: string | null;
}

/** A line of a job's log. */
export interface LogLine {
  attempt: number;
  at: string;
  level: string;
  message: string;
  /** The additional fields of the line. */
  fields: Record<string, unknown>;
}

/** The state of the connection to a stream. */
export interface ConnectionChange {
  state: "connecting" | "open" | "waiting";
  /** Milliseconds until the next try, while waiting. */
  delay?: number;
  /** The error of the last connection, if it failed. */
  error?: unknown;
}

/** A server-sent event. */
export interface ServerEvent {
  type: string;
  data: string;
  lastEventId: string;
}

export interface WatchOptions<Output = unknown> extends Connection {
  /** Stops following; the promise is rejected with its reason. */
  signal?: AbortSignal;
  /** Continue after this event of an earlier stream. */
  lastEventId?: string;
  /** Consecutive failed connections after which to give up; unlimited by default. */
  attempts?: number;
  /** Milliseconds before a lost connection is opened again, doubled with each failure; 1000. */
  firstDelay?: number;
  /** The maximum of this wait; 30000. */
  mostDelay?: number;
  /** Milliseconds of silence after which a connection counts as lost; 45000, 0 for never. */
  idleTimeout?: number;
  onStatus?: (status: JobStatus<Output>) => void;
  onProgress?: (progress: Progress) => void;
  onLog?: (line: LogLine) => void;
  onConnection?: (change: ConnectionChange) => void;
  /** Every received event, for example to store its id. */
  onEvent?: (event: ServerEvent) => void;
}

/**
 * Follow a job until it ends, reconnecting after lost connections.
 *
 * Rejects with a `JobsError` if there is no such job (404), or the caller may not see it (401, 403); with the
 * signal's reason if that is aborted; with any error that a callback throws.
 */
export function watchJob<Output = unknown>(
  runId: string,
  options?: WatchOptions<Output>,
): Promise<JobStatus<Output>>;

export interface JobStatusOptions<Output = unknown> extends Omit<WatchOptions<Output>, "signal"> {
  /** The job; without one, the store does nothing. */
  runId: string | null | undefined;
  /** Number of the newest log lines to keep; 200 by default. */
  maxLogs?: number;
}

/** A snapshot of a job. */
export interface JobSnapshot<Output = unknown> {
  /** Null until the first answer. */
  readonly status: RunStatus | null;
  /** The task's result, or the error `{type, message, traceback}` of a failed job; null before its end. */
  readonly output: Output | null;
  /** The reason why the job failed, or can't be followed. */
  readonly error: string | null;
  readonly taskId: string | null;
  readonly completedOn: string | null;
  readonly progress: Progress | null;
  readonly logs: readonly LogLine[];
  readonly connection: "idle" | "connecting" | "open" | "reconnecting" | "closed";
}

export interface JobStatusStore<Output = unknown> {
  /** Follow the job while there are subscriptions; returns a function that ends this one. */
  subscribe(listener: () => void): () => void;
  /** The same object until something changes. */
  getSnapshot(): JobSnapshot<Output>;
}

/** Return the store of a job's status, for any framework. */
export function createJobStatus<Output = unknown>(options: JobStatusOptions<Output>): JobStatusStore<Output>;

export interface RequestOptions {
  signal?: AbortSignal;
}

/** Filters of the list; without any, all jobs, newest first. */
export interface RunFilter {
  task?: string | readonly string[];
  status?: RunStatus | readonly RunStatus[];
  parent?: string;
  /** A text in the id, the singleton key, the payload, the output or the meta. */
  text?: string;
  createdFrom?: Date | string;
  createdTo?: Date | string;
  /** Whether to list archived jobs instead of live ones. */
  archived?: boolean;
  /** Jobs in a page, 1 to 200. */
  limit?: number;
  /** `nextCursor` of the previous page, with the same filters. */
  cursor?: string | null;
}

/** A page of jobs, newest first. */
export interface Runs<Output = unknown> {
  runs: Run<Output>[];
  /** The cursor of the next page; null on the last one. */
  nextCursor: string | null;
}

export interface JobsClient {
  /** Send a job. A repeated idempotency key returns the job that the first request sent. */
  trigger(
    taskId: string,
    payload?: unknown,
    request?: RequestOptions & { idempotencyKey?: string },
  ): Promise<Triggered>;
  run<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  /** List jobs, one page at a time. */
  list<Output = unknown>(filter?: RunFilter, request?: RequestOptions): Promise<Runs<Output>>;
  /** Cancel a job permanently; needs the scope `jobs.admin`. */
  cancel<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  /** Run a failed job again; needs the scope `jobs.admin`. */
  retry<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  /** Requeue a cancelled job; needs the scope `jobs.admin`. */
  resume<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  watch<Output = unknown>(runId: string, options?: WatchOptions<Output>): Promise<JobStatus<Output>>;
}

/** Return a client of one server. */
export function createClient(connection?: Connection): JobsClient;

export interface FieldProblem {
  path: string;
  message: string;
}

/** An error response, or a response that can't be parsed. */
export class JobsError extends Error {
  constructor(message: string, status: number, more?: Record<string, unknown>);
  /** The HTTP status; 0 if the response could not be parsed. */
  status: number;
  description: string | undefined;
  /** The invalid fields of a payload. */
  fields: FieldProblem[];
  /** The conflicting job, for a 409. */
  id: string | undefined;
  /** Milliseconds after which to retry. */
  retryAfter: number | undefined;
  /** Whether the same request may succeed later. */
  get transient(): boolean;
}

/** Parses server-sent events from chunks of any size. */
export class EventParser {
  constructor(lastEventId?: string);
  lastEventId: string;
  retry: number | undefined;
  push(text: string): ServerEvent[];
}
