"""From raw items to stories."""
