-- Moves the jobs of some queues to others: those that have not ended, which indexes find by name, and those
-- that ended since a given time, by time. Returns the number of moved ones, and the ids of live ones that
-- stay since other jobs have their keys or slots there. Of jobs that would exclude each other, the one in the
-- highest state is moved, of these the lowest id. The four cases are the unique indexes of 0001, with their
-- exact conditions; each is a separate subquery, so that it can only be one index search.
with moving as materialized (
    select
        given.name,
        given.target
    from unnest(%(names)s::text[], %(targets)s::text[]) as given (name, target)
),

found as materialized (
    select job.id
    from {schema}.job
    where job.state < 'active' and job.name collate "C" = any(%(names)s::text[])
    union all
    select job.id
    from {schema}.job
    where job.state = 'active' and job.name collate "C" = any(%(names)s::text[])
    union all
    select job.id
    from {schema}.job
    where
        job.state > 'active'
        and job.completedon >= %(ended_since)s::timestamptz
        and job.name = any(%(names)s::text[])
),

locked as materialized (
    select
        job.id,
        moving.target,
        job.state,
        job.singletonkey as key,
        job.singletonon as slot,
        case
            when job.singletonon is not null then job.state < 'expired'
            when job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%' then job.state < 'active'
            else job.singletonkey is not null and job.state < 'completed'
        end as is_held
    from {schema}.job
    inner join moving on job.name = moving.name
    where job.id = any(array(select found.id from found))
    order by job.id
    for update of job
),

ranked as materialized (
    select
        locked.*,
        row_number() over (
            partition by locked.target, locked.key, locked.slot, locked.is_held
            order by locked.state desc, locked.id asc
        ) as place
    from locked
),

chosen as materialized (
    select
        ranked.id,
        ranked.target
    from ranked
    where
        not ranked.is_held
        or ranked.place = 1 and not exists (
            select from {schema}.job
            where
                ranked.key is null and job.name = ranked.target and job.singletonon = ranked.slot
                and job.state < 'expired' and job.singletonkey is null
        ) and not exists (
            select from {schema}.job
            where
                job.name = ranked.target and job.singletonon = ranked.slot and job.singletonkey = ranked.key
                and job.state < 'expired'
        ) and not exists (
            select from {schema}.job
            where
                ranked.slot is null and job.name = ranked.target and job.singletonkey = ranked.key
                and job.state < 'completed' and job.singletonon is null
                and not job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%'
        ) and not exists (
            select from {schema}.job
            where
                ranked.slot is null and job.name = ranked.target and job.singletonkey = ranked.key
                and job.state < 'active' and job.singletonon is null
                and job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%'
        )
),

moved as (
    update {schema}.job
    set name = chosen.target
    from chosen
    where job.id = any(array[chosen.id])
    returning job.id, job.name, job.state
),

woken as (
    select pg_notify(%(work_channel)s, due.name)
    from (select distinct moved.name from moved where moved.state < 'active') as due
)

select
    null::uuid as id,
    (select count(*) from moved) as moved,
    (select count(*) from woken) as woken
union all
select
    ranked.id,
    null::bigint,
    null::bigint
from ranked
where ranked.state < 'completed' and ranked.id not in (select chosen.id from chosen)
