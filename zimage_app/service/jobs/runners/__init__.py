"""What makes the pictures of jobs: one file for each kind of runner. Read ``runner.py`` first."""
