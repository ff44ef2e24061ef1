insert into zeke.contents as known (
    raw_item_id,
    text,
    content_hash,
    language,
    html_url,
    pdf_url,
    audio_url,
    transcript_vtt,
    duration_seconds,
    view_count,
    created_at,
    updated_at
)
select
    %(raw_item_id)s::uuid,
    %(text)s,
    %(content_hash)s,
    %(language)s,
    %(html_url)s,
    %(pdf_url)s,
    %(audio_url)s,
    %(transcript_vtt)s,
    %(duration_seconds)s::integer,
    %(view_count)s::bigint,
    clock.now,
    clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
on conflict (raw_item_id) do update
set
    text = excluded.text,
    content_hash = excluded.content_hash,
    language = excluded.language,
    html_url = excluded.html_url,
    pdf_url = excluded.pdf_url,
    audio_url = excluded.audio_url,
    transcript_vtt = excluded.transcript_vtt,
    duration_seconds = excluded.duration_seconds,
    view_count = excluded.view_count,
    updated_at = excluded.updated_at
where
    (
        known.text,
        known.content_hash,
        known.language,
        known.html_url,
        known.pdf_url,
        known.audio_url,
        known.transcript_vtt,
        known.duration_seconds,
        known.view_count
    )
    is distinct from (
        excluded.text,
        excluded.content_hash,
        excluded.language,
        excluded.html_url,
        excluded.pdf_url,
        excluded.audio_url,
        excluded.transcript_vtt,
        excluded.duration_seconds,
        excluded.view_count
    )
