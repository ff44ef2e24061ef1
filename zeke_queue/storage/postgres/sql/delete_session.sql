delete from {schema}.api_session
where digest = %(digest)s::bytea
returning ends_on > coalesce(%(now)s::timestamptz, statement_timestamp())
