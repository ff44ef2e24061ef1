/** What a client is told of a job. */
export type RunStatus = "QUEUED" | "EXECUTING" | "COMPLETED" | "FAILED" | "CANCELLED";

/** Which server, and who asks. */
export interface Connection {
  /** Where the API is, for instance `https://api.example.org`; the page's own origin by default. */
  baseUrl?: string | URL;
  /** An API key, or a function that gives one; it is asked before each request. */
  token?: string | undefined | (() => string | undefined | Promise<string | undefined>);
  /** Further headers of each request. */
  headers?: HeadersInit;
  /** Whether cookies are sent, for applications that tell who calls by them. */
  credentials?: RequestCredentials;
  /** Another `fetch` than the global one. */
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
  /** What the task returned; of a failed job `{type, message, traceback}`. */
  output: Output | null;
  startedOn: string | null;
  completedOn: string | null;
  createdOn: string;
  retryCount: number;
}

/** The status of a job. `output` and `completedOn` come once it has ended. */
export interface JobStatus<Output = unknown> {
  id: string;
  status: RunStatus;
  taskId: string;
  output?: Output | null;
  completedOn?: string | null;
}

/** How far an attempt of a job has come. */
export interface Progress {
  attempt: number;
  at: string;
  /** From 0 to 1. */
  value: number;
  message: string | null;
}

/** A line that a job wrote to its log. */
export interface LogLine {
  attempt: number;
  at: string;
  level: string;
  message: string;
  /** What it said beside the message. */
  fields: Record<string, unknown>;
}

/** What becomes of the connection to a stream. */
export interface ConnectionChange {
  state: "connecting" | "open" | "waiting";
  /** Milliseconds until the next try, while waiting. */
  delay?: number;
  /** Why the last one failed, if it did. */
  error?: unknown;
}

/** A server-sent event. */
export interface ServerEvent {
  type: string;
  data: string;
  lastEventId: string;
}

export interface WatchOptions<Output = unknown> extends Connection {
  /** Ends the watching; the promise is rejected with its reason. */
  signal?: AbortSignal;
  /** Go on behind this event, of a stream that was read before. */
  lastEventId?: string;
  /** Consecutive connections that may fail before it gives up; any number by default. */
  attempts?: number;
  /** Milliseconds before a lost connection is opened again, doubled with each failure; 1000. */
  firstDelay?: number;
  /** The most that this grows to; 30000. */
  mostDelay?: number;
  /** Milliseconds of silence after which a connection counts as lost; 45000, 0 for never. */
  idleTimeout?: number;
  onStatus?: (status: JobStatus<Output>) => void;
  onProgress?: (progress: Progress) => void;
  onLog?: (line: LogLine) => void;
  onConnection?: (change: ConnectionChange) => void;
  /** Every event as it came, for instance to keep its id. */
  onEvent?: (event: ServerEvent) => void;
}

/**
 * Follow a job until it ends, over lost connections.
 *
 * Rejects with a `JobsError` if there is no such job (404), or the caller may not see it (401, 403); with the
 * signal's reason if that is aborted; with whatever a callback throws.
 */
export function watchJob<Output = unknown>(
  runId: string,
  options?: WatchOptions<Output>,
): Promise<JobStatus<Output>>;

export interface JobStatusOptions<Output = unknown> extends Omit<WatchOptions<Output>, "signal"> {
  /** The job; nothing is followed without one. */
  runId: string | null | undefined;
  /** How many of the newest log lines are kept; 200. */
  maxLogs?: number;
}

/** What is known of a job. */
export interface JobSnapshot<Output = unknown> {
  /** Null until the first answer. */
  readonly status: RunStatus | null;
  /** What the task returned, or of a failed job `{type, message, traceback}`; null before its end. */
  readonly output: Output | null;
  /** Why the job failed, or why it can't be followed. */
  readonly error: string | null;
  readonly taskId: string | null;
  readonly completedOn: string | null;
  readonly progress: Progress | null;
  readonly logs: readonly LogLine[];
  readonly connection: "idle" | "connecting" | "open" | "reconnecting" | "closed";
}

export interface JobStatusStore<Output = unknown> {
  /** Follow the job from the first subscription to the end of the last one; returns what ends this one. */
  subscribe(listener: () => void): () => void;
  /** The same object until something changes. */
  getSnapshot(): JobSnapshot<Output>;
}

/** Return the store of a job's status, for any framework. */
export function createJobStatus<Output = unknown>(options: JobStatusOptions<Output>): JobStatusStore<Output>;

export interface RequestOptions {
  signal?: AbortSignal;
}

/** Which jobs are listed; without any, the newest of all. */
export interface RunFilter {
  task?: string | readonly string[];
  status?: RunStatus | readonly RunStatus[];
  parent?: string;
  /** In the id, the singleton key, the payload or the output. */
  text?: string;
  createdFrom?: Date | string;
  createdTo?: Date | string;
  /** Whether the archive is looked through, and not the live jobs. */
  archived?: boolean;
  /** Jobs in a page, 1 to 200. */
  limit?: number;
  /** `nextCursor` of the page before, with the same filters. */
  cursor?: string | null;
}

/** A page of jobs, newest first. */
export interface Runs<Output = unknown> {
  runs: Run<Output>[];
  /** Gives the next page; null on the last one. */
  nextCursor: string | null;
}

export interface JobsClient {
  /** Send a job. The same idempotency key again gives the job that the first request sent. */
  trigger(
    taskId: string,
    payload?: unknown,
    request?: RequestOptions & { idempotencyKey?: string },
  ): Promise<Triggered>;
  run<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  /** List jobs, a page at a time. */
  list<Output = unknown>(filter?: RunFilter, request?: RequestOptions): Promise<Runs<Output>>;
  /** Cancel a job for good; needs the scope `jobs.admin`. */
  cancel<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  /** Run a failed job again; needs the scope `jobs.admin`. */
  retry<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  /** Put a cancelled job back into its queue; needs the scope `jobs.admin`. */
  resume<Output = unknown>(runId: string, request?: RequestOptions): Promise<Run<Output>>;
  watch<Output = unknown>(runId: string, options?: WatchOptions<Output>): Promise<JobStatus<Output>>;
}

/** Return a client of one server. */
export function createClient(connection?: Connection): JobsClient;

export interface FieldProblem {
  path: string;
  message: string;
}

/** An answer that is an error, or no answer that can be understood. */
export class JobsError extends Error {
  constructor(message: string, status: number, more?: Record<string, unknown>);
  /** The HTTP status; 0 if the answer could not be understood. */
  status: number;
  description: string | undefined;
  /** The fields of a payload that do not fit. */
  fields: FieldProblem[];
  /** The job in the way, of a 409. */
  id: string | undefined;
  /** Milliseconds after which the server may be asked again. */
  retryAfter: number | undefined;
  /** Whether the same request may succeed later. */
  get transient(): boolean;
}

/** Reads server-sent events from text in pieces of any size. */
export class EventParser {
  constructor(lastEventId?: string);
  lastEventId: string;
  retry: number | undefined;
  push(text: string): ServerEvent[];
}
