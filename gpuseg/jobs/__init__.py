"""Jobs: whole runs, from input to a folder of results, and what a run says about itself. Called by the CLI."""
