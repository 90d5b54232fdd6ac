"""What a job declares (inside jobs; for run and the command line): its file, what is wrong with it, first guesses."""
