"""Tables, `results.json`, LaTeX and `report.html` of an evaluation."""
