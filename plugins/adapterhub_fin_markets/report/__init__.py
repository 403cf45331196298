"""Draw what a backtest gave, in one page and pictures."""
