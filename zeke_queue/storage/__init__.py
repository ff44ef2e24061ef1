"""Where jobs are kept: one protocol, and its two implementations that answer alike."""
