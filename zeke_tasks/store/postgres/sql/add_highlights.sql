-- The stories are locked, so what is read here stays as it is.
with told as (
    select told.*
    from
        jsonb_to_recordset(%(highlights)s::jsonb) as told (
            position integer,
            id uuid,
            story_id uuid,
            team_id uuid,
            kind text,
            title text,
            summary text,
            quote text,
            key text,
            confidence numeric,
            origin text,
            created_by uuid,
            metadata jsonb,
            tags jsonb,
            urls jsonb
        )
),

new as (
    select told.*
    from told
    inner join zeke.stories as story on told.story_id = story.id
    where
        not exists (
            select from zeke.highlights as known
            where
                known.story_id = told.story_id
                and known.key = told.key
                and (known.team_id is null or known.team_id = told.team_id)
        )
        and not exists (
            select from told as earlier
            where
                earlier.story_id = told.story_id
                and earlier.key = told.key
                and (earlier.team_id is null or earlier.team_id = told.team_id)
                and earlier.position < told.position
        )
),

added as (
    insert into zeke.highlights (
        id,
        story_id,
        team_id,
        kind,
        title,
        summary,
        quote,
        key,
        confidence,
        origin,
        created_by,
        metadata,
        created_at,
        updated_at
    )
    select
        new.id,
        new.story_id,
        new.team_id,
        new.kind,
        new.title,
        new.summary,
        new.quote,
        new.key,
        new.confidence,
        new.origin,
        new.created_by,
        new.metadata,
        clock.now,
        clock.now
    from new
    cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
    order by new.position
    returning id
),

tagged as (
    insert into zeke.highlight_tags (highlight_id, position, tag)
    select
        new.id,
        tag.position,
        tag.tag
    from new
    cross join lateral jsonb_array_elements_text(new.tags) with ordinality as tag (tag, position)
),

referring as (
    insert into zeke.highlight_references (highlight_id, position, url)
    select
        new.id,
        reference.position,
        reference.url
    from new
    cross join lateral jsonb_array_elements_text(new.urls) with ordinality as reference (url, position)
)

select id from added
