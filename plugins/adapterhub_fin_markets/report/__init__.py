"""Write what a backtest gave as one HTML page, its pictures and its tables."""
