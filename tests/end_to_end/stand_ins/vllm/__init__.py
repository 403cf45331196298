"""vLLM's interface for resolvers, where vLLM can't be installed: its names and signatures, and nothing behind them."""
