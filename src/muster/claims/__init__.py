"""Claims: the tests that decide them and the ledger that shows them."""
