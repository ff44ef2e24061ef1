-- The story is locked, so what is read here stays as it is.
with told as (
    select story_id from zeke.story_overlays
    where story_id = %(story_id)s
),

briefed as (
    update zeke.story_overlays as overlay
    set
        brief_one_liner = %(one_liner)s,
        brief_two_liner = %(two_liner)s,
        brief_elevator = %(elevator)s,
        time_saved_seconds = %(time_saved_seconds)s,
        briefed_at = coalesce(%(now)s::timestamptz, statement_timestamp())
    from told
    where
        overlay.story_id = told.story_id
        and (
            overlay.brief_one_liner,
            overlay.brief_two_liner,
            overlay.brief_elevator,
            overlay.time_saved_seconds
        )
        is distinct from (%(one_liner)s, %(two_liner)s, %(elevator)s, %(time_saved_seconds)s::integer)
)

select story_id from told
