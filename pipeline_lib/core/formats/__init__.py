"""Register the formats of other tools: one record for each."""
