-- Variants of a brief that is not complete yet: they are paid for, so the next job requests only the others.

alter table zeke.story_overlays
add column brief_draft jsonb check (jsonb_typeof(brief_draft) = 'object');
