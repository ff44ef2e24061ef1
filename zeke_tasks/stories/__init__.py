"""The tasks that turn raw items into stories, and those on stories."""
