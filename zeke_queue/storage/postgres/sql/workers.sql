-- Lists workers, with the jobs that each holds, which are counted by the index of active jobs alone.
select
    worker.id, worker.host, worker.pid, worker.queues, extract(epoch from worker.lease)::float8,
    worker.started_on, worker.beat_on, worker.asleep, worker.duties, coalesce(held.jobs, 0)
from {schema}.worker
left join (
    select job.worker, count(*) as jobs
    from {schema}.job
    where job.state = 'active' and job.worker is not null
    group by job.worker
) as held on worker.id = held.worker
order by worker.started_on, worker.id
