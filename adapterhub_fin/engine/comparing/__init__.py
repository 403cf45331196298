"""Compare versions on the same rows: differences with intervals, tests, effect sizes, and one sentence."""
