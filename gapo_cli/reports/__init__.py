"""Tables, plots and HTML pages from the files of runs."""
