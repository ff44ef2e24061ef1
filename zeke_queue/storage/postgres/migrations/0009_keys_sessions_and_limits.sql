-- Who may call the HTTP API. Of a key, and of a session's token, only the SHA-256 is kept.
create table {schema}.api_key (
    id uuid primary key,
    name text not null,
    prefix text not null,
    digest bytea not null,
    scopes text[] not null,
    team_id uuid,
    created_on timestamptz not null,
    expires_on timestamptz,
    last_used_on timestamptz,
    revoked_on timestamptz
);

create index api_key_prefix on {schema}.api_key (prefix);

create table {schema}.api_session (
    digest bytea primary key,
    key_id uuid not null references {schema}.api_key (id) on delete cascade,
    opened_on timestamptz not null,
    ends_on timestamptz not null
);

create index api_session_key on {schema}.api_session (key_id);

create index api_session_end on {schema}.api_session (ends_on);

-- Every call of the API is counted here. Unlogged: so no call waits until it is on disk that it was counted,
-- and what a crash of the server loses is a minute's counts.
create unlogged table {schema}.rate_limit (
    caller text collate "C" primary key,
    ends_on timestamptz not null,
    calls bigint not null,
    admitted bool not null
) with (fillfactor = 50);

create index rate_limit_end on {schema}.rate_limit (ends_on, caller);
