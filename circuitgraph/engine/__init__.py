"""The engine. What a mask over edges does to a metric; nothing above sees an activation."""
