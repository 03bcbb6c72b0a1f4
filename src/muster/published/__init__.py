"""Run tables that somebody else published, or that a user brings: found or downloaded, read, mapped to our columns."""
