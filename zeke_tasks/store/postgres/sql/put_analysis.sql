-- The story is locked, so what is read here stays as it is.
with told as (
    select
        story.id,
        clock.now
    from zeke.stories as story
    left join zeke.story_overlays as overlay on story.id = overlay.story_id
    cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
    where
        story.id = %(story_id)s
        -- A stub never takes the place of a model.
        and (%(analysis_state)s <> 'stub' or overlay.analysis_state is distinct from 'completed')
),

kept as (
    insert into zeke.story_overlays as overlay (
        story_id,
        why_it_matters,
        chili,
        confidence,
        citations,
        analysis_state,
        model,
        prompt_version,
        analysed_at,
        analysed_by
    )
    select
        told.id,
        %(why_it_matters)s,
        %(chili)s,
        %(confidence)s::numeric(3, 2),
        %(citations)s::jsonb,
        %(analysis_state)s,
        %(model)s,
        %(prompt_version)s,
        told.now,
        %(analysed_by)s::uuid
    from told
    on conflict (story_id) do update
    set
        why_it_matters = excluded.why_it_matters,
        chili = excluded.chili,
        confidence = excluded.confidence,
        citations = excluded.citations,
        analysis_state = excluded.analysis_state,
        model = excluded.model,
        prompt_version = excluded.prompt_version,
        analysed_at = excluded.analysed_at,
        analysed_by = excluded.analysed_by
    where
        (
            overlay.why_it_matters,
            overlay.chili,
            overlay.confidence,
            overlay.citations::text,
            overlay.analysis_state,
            overlay.model,
            overlay.prompt_version,
            overlay.analysed_by
        )
        is distinct from (
            excluded.why_it_matters,
            excluded.chili,
            excluded.confidence,
            excluded.citations::text,
            excluded.analysis_state,
            excluded.model,
            excluded.prompt_version,
            excluded.analysed_by
        )
),

analyzed as (
    update zeke.stories as story
    set
        status = 'analyzed',
        updated_at = told.now
    from told
    where story.id = told.id and story.status is distinct from 'analyzed'
)

select id from told
