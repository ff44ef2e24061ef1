select
    story_id,
    why_it_matters,
    chili,
    confidence::float8 as confidence,
    citations,
    analysis_state,
    model,
    prompt_version,
    brief_one_liner,
    brief_two_liner,
    brief_elevator,
    time_saved_seconds,
    analysed_at,
    briefed_at,
    brief_state,
    analysed_by,
    briefed_by,
    brief_prompt_version,
    brief_draft
from zeke.story_overlays
where story_id = %(story_id)s
