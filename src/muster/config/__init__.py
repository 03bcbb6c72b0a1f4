"""The config tree: one pydantic model per section, validated before any job starts."""
