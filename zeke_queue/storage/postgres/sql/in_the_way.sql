-- Returns the job that holds the place which this one would need to wait again. The four cases are the unique
-- indexes.
select other.id
from {schema}.job
inner join {schema}.job as other on job.name = other.name and job.id <> other.id
where
    job.id = %(id)s::uuid
    and case
        when job.singletonon is not null
            then
                other.state < 'expired'
                and other.singletonon = job.singletonon
                and other.singletonkey is not distinct from job.singletonkey
        when job.singletonkey like '\_\_pgboss\_\_singleton\_queue%%'
            then
                other.state < 'active' and other.singletonon is null and other.singletonkey = job.singletonkey
        else other.state < 'completed' and other.singletonon is null and other.singletonkey = job.singletonkey
    end
order by other.id
limit 1
