"""Read dated text of markets: filings, minutes, news, calls."""
