"""From sources to raw items."""
