-- Counts what each worker holds, by the index of active jobs alone.
select
    worker,
    count(*)
from {schema}.job
where state = 'active' and worker is not null
group by worker
order by worker
