-- From a story on: what is thought of it, what stands out in it, what teams make of it, and playbooks.
-- No column has a default that reads a clock, and none refers to a job: the queue deletes those.

create table zeke.story_clusters (
    id uuid primary key,
    label text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

alter table zeke.stories add constraint stories_cluster
foreign key (cluster_id) references zeke.story_clusters on delete set null;

create index stories_cluster on zeke.stories (cluster_id) where cluster_id is not null;
create index stories_newest on zeke.stories (published_at desc nulls last, id);

create table zeke.story_overlays (
    story_id uuid primary key references zeke.stories on delete cascade,
    why_it_matters text,
    chili integer check (chili between 0 and 5),
    confidence numeric(3, 2) check (confidence between 0 and 1),
    citations jsonb not null default '[]' check (jsonb_typeof(citations) = 'array'),
    analysis_state text not null default 'pending' check (analysis_state in ('pending', 'completed', 'stub')),
    model text,
    prompt_version text,
    brief_one_liner text,
    brief_two_liner text,
    brief_elevator text,
    time_saved_seconds integer,
    brief_state text check (brief_state in ('completed', 'stub')),
    analysed_at timestamptz,
    -- The job that had it made, which asks nobody again when it is run again.
    analysed_by uuid,
    briefed_at timestamptz,
    briefed_by uuid,
    check ((brief_state is null) = (briefed_at is null)),
    check (analysis_state = 'pending' or (why_it_matters is not null and analysed_at is not null))
);

-- What an embedding is kept as: pgvector's type where the server has it and the role may create it, else
-- real[]. Statements know neither of them: they cast to zeke.embedding and to real[], and ask for
-- zeke.cosine_distance.
do $$
declare
    home name;
begin
    if exists (select from pg_available_extensions where name = 'vector') then
        begin
            create extension if not exists vector;
        exception when insufficient_privilege or invalid_schema_name or undefined_file then
            raise warning 'Embeddings are kept as real[], for pgvector can''t be created: %', sqlerrm;
        end;
    end if;
    select namespace.nspname into home
    from pg_extension as extension
    inner join pg_namespace as namespace on namespace.oid = extension.extnamespace
    where extension.extname = 'vector';
    if found then
        execute format('create domain zeke.embedding as %I.vector', home);
        execute format(
            'create function zeke.similarity(one zeke.embedding, other zeke.embedding) returns float8'
            ' language sql immutable parallel safe return 1 - (one operator(%I.<=>) other)',
            home
        );
    else
        create domain zeke.embedding as real[];
        create function zeke.similarity(one zeke.embedding, other zeke.embedding) returns float8
        language sql immutable parallel safe return (
            select sum(x::float8 * y::float8) / sqrt(nullif(sum(x::float8 ^ 2) * sum(y::float8 ^ 2), 0))
            from unnest(one::real[], other::real[]) as pair (x, y)
        );
    end if;
end
$$;

-- Six decimals, so that what single precision adds up differently is the same. What is nothing but zeros has
-- no direction; pgvector says NaN then.
create function zeke.cosine_distance(one zeke.embedding, other zeke.embedding) returns float8
language sql immutable parallel safe
return round((1 - coalesce(nullif(zeke.similarity(one, other), 'NaN'), 0))::numeric, 6)::float8;

create table zeke.story_embeddings (
    story_id uuid not null references zeke.stories on delete cascade,
    model text not null,
    dimensions integer not null check (dimensions between 1 and 16000),
    vector zeke.embedding not null check (cardinality(vector::real[]) = dimensions),
    updated_at timestamptz not null,
    primary key (story_id, model, dimensions)
);

create index story_embeddings_model on zeke.story_embeddings (model, dimensions);

create table zeke.ai_spending (
    job_id uuid not null,
    attempt integer not null check (attempt >= 0),
    purpose text not null,
    task text not null,
    model text not null,
    input_tokens bigint not null check (input_tokens >= 0),
    output_tokens bigint not null check (output_tokens >= 0),
    cost_usd double precision check (cost_usd >= 0),
    created_at timestamptz not null,
    primary key (job_id, attempt, purpose)
);

create table zeke.highlights (
    id uuid primary key,
    story_id uuid not null references zeke.stories on delete cascade,
    -- Whose it is; null is everybody's.
    team_id uuid,
    kind text not null check (
        kind in (
            'code_example', 'code_change', 'api_change', 'metric', 'insight', 'action', 'quote', 'question'
        )
    ),
    title text,
    summary text not null,
    quote text,
    -- What it has in common with others that say the same; see zeke_tasks.store.highlights.
    key text not null check (key ~ '^[0-9a-f]{64}$'),
    confidence numeric(3, 2) not null check (confidence between 0 and 1),
    origin text not null check (origin in ('system', 'assistant')),
    created_by uuid,
    metadata jsonb not null default '{}',
    score numeric(3, 2) check (score between 0 and 1),
    score_matches text[],
    score_breakdown jsonb,
    scored_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique nulls not distinct (story_id, key, team_id),
    check (num_nulls(score, score_matches, score_breakdown, scored_at) in (0, 4))
);

create table zeke.highlight_tags (
    highlight_id uuid not null references zeke.highlights on delete cascade,
    -- Not the tag itself, of which an index could hold only so much.
    position integer not null,
    tag text not null,
    primary key (highlight_id, position)
);

create table zeke.highlight_references (
    highlight_id uuid not null references zeke.highlights on delete cascade,
    position integer not null,
    url text not null,
    primary key (highlight_id, position)
);

create table zeke.source_connections (
    team_id uuid not null,
    source_id uuid not null references zeke.sources on delete cascade,
    created_at timestamptz not null,
    primary key (team_id, source_id)
);

create index source_connections_source on zeke.source_connections (source_id, team_id);

create table zeke.team_story_states (
    team_id uuid not null,
    story_id uuid not null references zeke.stories on delete cascade,
    state text not null check (state in ('unread', 'read', 'archived')),
    last_viewed_at timestamptz,
    updated_at timestamptz not null,
    primary key (team_id, story_id)
);

create index team_story_states_story on zeke.team_story_states (story_id, team_id);

create table zeke.team_highlight_states (
    team_id uuid not null,
    highlight_id uuid not null references zeke.highlights on delete cascade,
    pinned boolean not null default false,
    dismissed boolean not null default false,
    created_at timestamptz not null,
    primary key (team_id, highlight_id)
);

create index team_highlight_states_highlight on zeke.team_highlight_states (highlight_id);

create table zeke.playbooks (
    id uuid primary key,
    team_id uuid not null,
    name text not null,
    status text not null check (status in ('draft', 'active', 'archived')),
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table zeke.playbook_steps (
    playbook_id uuid not null references zeke.playbooks on delete cascade,
    position integer not null,
    name text not null check (name <> '' and length(name) <= 512),
    task text not null check (task <> ''),
    input jsonb not null default '{}' check (jsonb_typeof(input) = 'object'),
    primary key (playbook_id, position),
    unique (playbook_id, name)
);

create table zeke.playbook_runs (
    -- That of the run's job.
    id uuid primary key,
    playbook_id uuid not null references zeke.playbooks on delete cascade,
    team_id uuid not null,
    trigger_source text not null check (trigger_source in ('dashboard', 'api', 'schedule', 'system')),
    triggered_by uuid,
    metadata jsonb not null default '{}',
    status text not null default 'pending'
    check (status in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    resumed integer not null default 0 check (resumed >= 0),
    outputs jsonb not null default '{}' check (jsonb_typeof(outputs) = 'object'),
    error text check (length(error) <= 512),
    started_at timestamptz,
    ended_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check ((ended_at is null) = (status in ('pending', 'running')))
);

create index playbook_runs_playbook on zeke.playbook_runs (playbook_id, id);

create table zeke.playbook_run_events (
    seq bigint generated always as identity primary key,
    run_id uuid not null references zeke.playbook_runs on delete cascade,
    round integer not null check (round >= 0),
    kind text not null check (
        kind in (
            'run.created', 'run.started', 'run.resumed', 'run.completed', 'run.failed', 'run.cancelled',
            'step.started', 'step.completed', 'step.failed'
        )
    ),
    step text,
    data jsonb not null default '{}',
    at timestamptz not null,
    unique nulls not distinct (run_id, round, kind, step)
);

-- What whoever brought an item says of it.
alter table zeke.raw_items add column metadata jsonb not null default '{}';
