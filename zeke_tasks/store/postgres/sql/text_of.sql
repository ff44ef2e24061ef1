select
    content.raw_item_id,
    content.text,
    content.content_hash,
    content.language,
    content.html_url,
    content.pdf_url,
    content.audio_url,
    content.transcript_vtt,
    content.duration_seconds,
    content.view_count
from zeke.contents as content
inner join zeke.stories as story on content.raw_item_id = story.content_id
where story.id = %(story_id)s
