-- Counts the jobs of pg-boss by queue and by what becomes of them: each is in one group. That is its state,
-- but created ones with a start in the future are scheduled; those of a flow and those past their retention
-- stay; and an import has claimed or taken some. Also counts traits that can't be carried of those that have
-- not ended: keys that exclude nothing, and backoffs with a delay; and lists their dead letter queues.
select
    name,
    case
        when
            state = 'active'
            and output #> '{zekeImport,at}' = to_jsonb(extract(epoch from started_on))
            then 'claimed'
        when
            state = 'completed'
            and output #> '{zekeImport,at}' = to_jsonb(extract(epoch from started_on))
            then 'taken'
        when state <= 'active' and (job.blocked or job.blocking) then 'flow'
        when state < 'active' and keep_until <= statement_timestamp() then 'past'
        when state = 'created' and start_after > statement_timestamp() then 'scheduled'
        else state::text
    end as becomes,
    count(*) as jobs,
    count(*) filter (where state < 'active' and singleton_key is not null and singleton_on is null) as labels,
    count(*) filter (where state <= 'active' and retry_backoff and retry_delay > 1) as backoff,
    array_agg(distinct dead_letter) filter (where state <= 'active' and dead_letter is not null) as letters
from {schema}.job as job
group by 1, 2
order by 1, 2
