-- Counts the instances of pg-boss that are alive by its own rule: not stopped, and without three missed
-- heartbeats.
select count(*)
from {schema}.instance
where
    stopped_on is null
    and heartbeat_on >= statement_timestamp() - heartbeat_seconds * interval '3 seconds'
