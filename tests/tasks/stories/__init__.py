"""What tasks make of stories."""
