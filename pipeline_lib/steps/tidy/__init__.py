"""Run the verb `tidy`: list and remove files that no result in use needs."""
