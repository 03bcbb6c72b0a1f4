"""What a job needs around its work: fingerprints, the store, provenance, progress, devices."""
