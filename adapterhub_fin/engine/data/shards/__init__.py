"""Token shards: dated text as token ids in files that are mapped into memory, written in one streaming pass."""
