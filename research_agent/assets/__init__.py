"""What a run's code made and a report may show: figures and tables, kept under safe names."""
