"""What a run reports: metrics, validation, memory."""
