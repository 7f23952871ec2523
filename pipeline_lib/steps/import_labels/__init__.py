"""Run the verb `import-labels`."""
