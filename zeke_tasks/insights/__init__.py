"""What stories say in particular: highlights, how relevant they are, and the insights of teams."""
