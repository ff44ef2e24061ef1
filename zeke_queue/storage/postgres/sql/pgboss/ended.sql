-- Lists ended jobs of a queue of pg-boss in the order of their ids, and which of them to import: all but
-- those that an import has taken, or only completed ones whose slot of the last week may exclude others. The
-- page is made first, since the planner expects few rows of these conditions, and would sort all jobs. A
-- batch ends behind the job that exceeds its bytes.
with page as materialized (
    select
        job.*,
        job.output -> 'zekeImport' is null
        and (
            %(history)s::bool
            or (
                job.state = 'completed'
                and job.singleton_on > (statement_timestamp() at time zone 'UTC') - interval '7 days'
            )
        ) as wanted
    from {schema}.job as job
    where
        job.name = %(name)s::text
        and job.id >= %(first)s::uuid
        and job.state > 'active'
    order by job.id
    limit {limit}
),

summed as (
    select
        page.*,
        sum(sized.bytes) over (order by page.id) - sized.bytes as before
    from page
    cross join lateral (
        select
            case when page.wanted then coalesce(pg_column_size(page.data), 0) else 0 end
            + case when page.wanted then coalesce(pg_column_size(page.output), 0) else 0 end as bytes
    ) as sized
)

select
    id,
    coalesce(wanted, false) as wanted,
    case when wanted then to_jsonb(summed) - 'data' - 'output' - 'wanted' - 'before' end as was,
    case when wanted then data::text end as payload,
    case when wanted then output::text end as result
from summed
where before < %(bytes)s::bigint
order by id
