-- Moves the jobs of some queues to others, in any state, except those whose key or slot another job has
-- there, by the rules of the unique indexes of 0001. Reads all jobs, since no index has the names of ended
-- ones: it is called once at the end of a command.
with chosen as materialized (
    select
        job.id,
        moving.target
    from {schema}.job
    inner join unnest(%(names)s::text[], %(targets)s::text[]) as moving (name, target)
        on job.name = moving.name collate "C"
    where
        (job.singletonkey is null and job.singletonon is null)
        or not exists (
            select from {schema}.job as holder
            where
                holder.name = moving.target
                and holder.singletonkey is not distinct from job.singletonkey
                and holder.singletonon is not distinct from job.singletonon
                and greatest(holder.state, job.state)
                < case when job.singletonon is null then 'completed' else 'expired' end::{schema}.job_state
        )
    order by job.id
    for update of job
),

moved as (
    update {schema}.job
    set name = chosen.target
    from chosen
    where job.id = chosen.id
    returning job.name, job.state
),

woken as (
    select pg_notify(%(work_channel)s, due.name)
    from (select distinct moved.name from moved where moved.state < 'active') as due
)

select
    (select count(*) from moved) as moved,
    (select count(*) from woken) as woken
