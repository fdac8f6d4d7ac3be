"""Parts of the reports: one document, style sheet and line charts for every page."""
