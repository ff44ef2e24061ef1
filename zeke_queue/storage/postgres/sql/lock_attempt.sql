-- Finds the job that is active at this attempt, and keeps it so until the transaction ends. Given a number of
-- milliseconds, the server ends the transaction after so long without a statement, or earlier if its setting
-- is shorter; 0 is none. The setting from before the first call is kept, so that a later call can give the
-- transaction more time.
with locked as materialized (
    select id
    from {schema}.job
    where id = %(id)s::uuid and attempt = %(attempt)s::int and state between 'active' and 'active'
    for no key update
)

select
    id,
    case
        when %(idle_timeout)s::bigint is not null
            then set_config(
                'idle_in_transaction_session_timeout',
                least(
                    %(idle_timeout)s::bigint,
                    nullif(
                        1000 * extract(
                            epoch from set_config(
                                'zeke.idle_limit',
                                coalesce(
                                    nullif(current_setting('zeke.idle_limit', true), ''),
                                    current_setting('idle_in_transaction_session_timeout')
                                ),
                                true
                            )::interval
                        ),
                        0
                    )::bigint
                )::text,
                true
            )
    end as idle_timeout
from locked
