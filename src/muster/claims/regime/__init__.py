"""Regime checks: the conditions under which a claim is fairly tested. One module a check, found by its place."""
