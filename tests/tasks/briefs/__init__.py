"""Stories in few words."""
