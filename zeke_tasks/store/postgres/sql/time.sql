select coalesce(%(now)s::timestamptz, statement_timestamp()) as now
