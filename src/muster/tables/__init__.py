"""Schemas of the frozen tables and their reading and writing."""
