select
    raw_item_id,
    text,
    content_hash,
    language,
    html_url,
    pdf_url,
    audio_url,
    transcript_vtt,
    duration_seconds,
    view_count
from zeke.contents
where raw_item_id = %(raw_item_id)s
