"""What was: forks, steps as they stood, records and their replay."""
