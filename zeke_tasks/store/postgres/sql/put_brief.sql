-- The story is locked, so what is read here stays as it is.
with told as (
    select story_id from zeke.story_overlays
    where
        story_id = %(story_id)s
        -- A stub never takes the place of a model.
        and (%(brief_state)s <> 'stub' or brief_state is distinct from 'completed')
),

briefed as (
    update zeke.story_overlays as overlay
    set
        brief_one_liner = %(one_liner)s,
        brief_two_liner = %(two_liner)s,
        brief_elevator = %(elevator)s,
        time_saved_seconds = %(time_saved_seconds)s,
        brief_state = %(brief_state)s,
        brief_prompt_version = %(prompt_version)s,
        briefed_by = %(briefed_by)s::uuid,
        briefed_at = coalesce(%(now)s::timestamptz, statement_timestamp())
    from told
    where
        overlay.story_id = told.story_id
        and (
            overlay.brief_one_liner,
            overlay.brief_two_liner,
            overlay.brief_elevator,
            overlay.time_saved_seconds,
            overlay.brief_state,
            overlay.brief_prompt_version,
            overlay.briefed_by
        )
        is distinct from (
            %(one_liner)s,
            %(two_liner)s,
            %(elevator)s,
            %(time_saved_seconds)s::integer,
            %(brief_state)s,
            %(prompt_version)s,
            %(briefed_by)s::uuid
        )
)

select story_id from told
