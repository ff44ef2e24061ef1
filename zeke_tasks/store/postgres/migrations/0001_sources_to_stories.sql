-- From a source to a story: what a feed lists, what was read of it, and what came of that.
-- No column has a default that reads a clock: every statement brings its time.

create table zeke.sources (
    id uuid primary key,
    type text not null check (type in ('rss', 'youtube_channel', 'youtube_search', 'manual')),
    name text not null,
    url text check (length(url) <= 2048),
    authority_score numeric(3, 2) check (authority_score between 0 and 1),
    is_active boolean not null default true,
    check_frequency_hours integer not null default 1 check (check_frequency_hours >= 1),
    metadata jsonb not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (type, url)
);

create table zeke.source_health (
    source_id uuid primary key references zeke.sources on delete cascade,
    status text not null check (status in ('ok', 'warn', 'error')),
    last_success_at timestamptz,
    last_error_at timestamptz,
    message text check (length(message) <= 512),
    failing_since timestamptz,
    next_check_at timestamptz not null,
    etag text,
    last_modified text
);

create table zeke.raw_items (
    id uuid primary key,
    source_id uuid not null references zeke.sources on delete cascade,
    external_id text not null check (length(external_id) <= 512),
    kind text not null check (kind in ('article', 'video', 'podcast', 'pdf', 'tweet')),
    url text,
    title text,
    published_at timestamptz,
    body text,
    status text not null default 'pending'
    check (status in ('pending', 'processed', 'no_text_extracted', 'failed')),
    attempts integer not null default 0,
    error text check (length(error) <= 512),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (source_id, external_id)
);

-- Finds what was forgotten; as long as all goes well it is all but empty.
create index raw_items_pending on zeke.raw_items (source_id, updated_at) where status = 'pending';

create table zeke.contents (
    raw_item_id uuid primary key references zeke.raw_items on delete cascade,
    text text not null,
    content_hash text not null check (content_hash ~ '^[0-9a-f]{64}$'),
    language text,
    html_url text,
    pdf_url text,
    audio_url text,
    transcript_vtt text,
    duration_seconds integer check (duration_seconds >= 0),
    view_count bigint check (view_count >= 0),
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create index contents_hash on zeke.contents (content_hash);

create table zeke.stories (
    id uuid primary key,
    content_id uuid not null unique references zeke.contents on delete cascade,
    -- The text that the story was made of: of two items with one text, the first makes the story.
    content_hash text not null unique,
    kind text not null check (kind in ('article', 'video', 'podcast', 'pdf', 'tweet')),
    cluster_id uuid,
    primary_source_id uuid not null references zeke.sources on delete cascade,
    title text not null,
    summary text,
    url text,
    published_at timestamptz,
    status text not null default 'new' check (status in ('new', 'analyzed')),
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create index stories_source on zeke.stories (primary_source_id);
