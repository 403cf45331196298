"""Read, check, adjust and fetch bars of prices, each known at its close."""
