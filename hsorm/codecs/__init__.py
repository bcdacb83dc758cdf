"""Text and JSON to kinds and back: `hayson` (JSON v4), `zinc`, `trio`, and `json3` for reading."""
