-- Returns the server, the role, the database, and how many connections the server admits to both. The
-- embedded server has its name, and no TCP port. Before version 16 only superusers have reserved connections.
select
    current_setting('server_version') as version,
    current_user::text as role,
    current_database()::text as database,
    pg_is_in_recovery() as standby,
    current_setting('cluster_name') = 'zeke' and current_setting('listen_addresses') = '' as embedded,
    least(
        current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
        (select nullif(rolconnlimit, -1) from pg_catalog.pg_roles where rolname = current_user),
        (select nullif(datconnlimit, -1) from pg_catalog.pg_database where datname = current_database())
    ) as admitted
