-- Locks, in the order of their ids, the jobs that are active at the attempts named, before a transaction
-- settles them. Planned as an application's own, the statement that settles them may go through a small
-- table as the rows lie. Where each is settled by itself, an end wakes a parent, which is locked then; with
-- that, no job may be waited for.
--
-- A job that is not active at its attempt stays free, since somebody may be about to claim it. A race is an
-- exception: after a wait Postgres locks the newest version of a row and only then looks at the conditions
-- again, and one that no longer meets them stays locked until the transaction ends.
--
-- A subquery that locks is run for each row beside it, so the order is the one given, and each job is found
-- by its id. "between 'active' and 'active'" keeps the planner from the index of active rows, as complete.sql
-- explains.
select locked.id
from (
    select
        asked.id,
        asked.attempt
    from unnest(%(ids)s::uuid[], %(attempts)s::int[]) as asked (id, attempt)
    order by asked.id
) as given
cross join lateral (
    select job.id
    from {schema}.job
    where
        job.id = given.id
        and job.attempt = given.attempt
        and job.state between 'active' and 'active'
    for update
) as locked
