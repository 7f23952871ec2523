"""Read files of strangers: their structure is checked before anything in them is used."""
