-- Records that a key was used, unless that was recorded within the last minute.
update {schema}.api_key set
    last_used_on = coalesce(%(now)s::timestamptz, statement_timestamp())
where
    id = %(id)s::uuid
    and (
        last_used_on is null
        or last_used_on <= coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '1 minute'
    )
