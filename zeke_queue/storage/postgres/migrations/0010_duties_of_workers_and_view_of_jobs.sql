-- What a worker does beside running jobs: 'maintenance' (rescue of lost jobs, archive, purge), 'schedules'.
alter table {schema}.worker
add duties text[] not null default array[]::text[];

-- Jobs as an application sees them, for reports. The tables keep their states, which pg-boss 9 knows.
create view {schema}.zeke_job as
select
    id,
    name as task,
    case
        when state < 'active' then 'QUEUED'
        when state = 'active' then 'EXECUTING'
        when state in ('expired', 'failed') then 'FAILED'
        else upper(state::text)
    end as status,
    data as payload,
    output,
    priority,
    attempt,
    retrycount as retry_count,
    retrylimit as retry_limit,
    singletonkey as singleton_key,
    parent,
    meta,
    worker,
    createdon as created_on,
    startafter as start_after,
    startedon as started_on,
    completedon as completed_on,
    archivedon as archived_on
from (
    select
        id,
        name,
        state,
        data,
        output,
        priority,
        attempt,
        retrycount,
        retrylimit,
        singletonkey,
        parent,
        meta,
        worker,
        createdon,
        startafter,
        startedon,
        completedon,
        null::timestamptz as archivedon
    from {schema}.job
    union all
    select
        id,
        name,
        state,
        data,
        output,
        priority,
        attempt,
        retrycount,
        retrylimit,
        singletonkey,
        parent,
        meta,
        worker,
        createdon,
        startafter,
        startedon,
        completedon,
        archivedon
    from {schema}.archive
) as kept;

comment on view {schema}.zeke_job is 'Jobs, live and archived, as an application sees them; one row a job';

comment on column {schema}.zeke_job.id is 'the job''s id';

comment on column {schema}.zeke_job.task is 'the name of its task, or of its queue';

comment on column {schema}.zeke_job.status is 'QUEUED, EXECUTING, COMPLETED, FAILED or CANCELLED';

comment on column {schema}.zeke_job.payload is 'what it was sent with';

comment on column {schema}.zeke_job.output is 'its result, or its last error';

comment on column {schema}.zeke_job.priority is 'higher ones are claimed first';

comment on column {schema}.zeke_job.attempt is 'how often it was claimed';

comment on column {schema}.zeke_job.retry_count is 'how many of its retries are used';

comment on column {schema}.zeke_job.retry_limit is 'how many retries it has';

comment on column {schema}.zeke_job.singleton_key is 'the key of which the task has one live job at most';

comment on column {schema}.zeke_job.parent is 'the job that sent it';

comment on column {schema}.zeke_job.meta is 'the object that its sender passed along';

comment on column {schema}.zeke_job.worker is 'the worker that runs it, or ran it last';

comment on column {schema}.zeke_job.created_on is 'when it was sent';

comment on column {schema}.zeke_job.start_after is 'when it is due, or was';

comment on column {schema}.zeke_job.started_on is 'when its last attempt began';

comment on column {schema}.zeke_job.completed_on is 'when it ended';

comment on column {schema}.zeke_job.archived_on is 'when it was moved to the archive; null while it is live';
