"""Turn signals and prices into a ledger, and judge what it earned."""
