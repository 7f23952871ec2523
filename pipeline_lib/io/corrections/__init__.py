"""Read and write the corrections of people, which are files of the project."""
