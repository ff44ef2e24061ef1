-- Returns the server, the role and the database. The embedded server has its name, and no TCP port.
select
    current_setting('server_version') as version,
    current_user::text as role,
    current_database()::text as database,
    pg_is_in_recovery() as standby,
    current_setting('cluster_name') = 'zeke' and current_setting('listen_addresses') = '' as embedded
