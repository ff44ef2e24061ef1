-- Locks, in the order of their ids, the jobs that are active at the attempts named, before a transaction
-- settles them. With an application's planner settings, the statement that settles them may scan a small
-- table in physical order. If each is settled separately, an end resumes a parent, which is then locked; from
-- then on no job may be waited for.
--
-- A job that is not active at its attempt is not locked, since a worker may be about to claim it. A race is
-- an exception: after a wait Postgres locks the newest version of a row and only then evaluates the
-- conditions again, and one that no longer meets them stays locked until the transaction ends.
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
