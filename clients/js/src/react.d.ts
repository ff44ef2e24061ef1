import type { JobSnapshot, JobStatusOptions } from "./index.d.ts";

/**
 * Follow a job while the component is mounted; without a `runId`, nothing is followed.
 *
 * Only another `runId` or `baseUrl` begins anew; of the other options the latest count.
 */
export function useJobStatus<Output = unknown>(options: JobStatusOptions<Output>): JobSnapshot<Output>;
