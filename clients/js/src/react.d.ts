import type { JobSnapshot, JobStatusOptions } from "./index.d.ts";

/**
 * Follow a job while the component is mounted; do nothing without a `runId`.
 *
 * Only a new `runId` or `baseUrl` restarts; of the other options the latest apply.
 */
export function useJobStatus<Output = unknown>(options: JobStatusOptions<Output>): JobSnapshot<Output>;
